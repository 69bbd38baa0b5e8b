// The function of main.py in Node.js: it stores each message as a chunk of its own, and says what it did for a key.

import { pipesFunction } from "gcf-pipes";

// A line has about 110 bytes: two do not fit into a chunk. No chunk is stored because of the time.
const OPTIONS = { flushInterval: 5, maxChunkBytes: 120, uploadTimeout: 3 };
const records = new Map();

function recordOf(key) {
  if (!records.has(key)) records.set(key, { started: 0, ended: 0, raised: 0, lines: [] });
  return records.get(key);
}

/** Return the record of a key, and forget it if nothing runs for the key. */
function takeRecord(key) {
  const record = recordOf(key);
  if (record.started === record.ended + record.raised) records.delete(key);
  return record;
}

const logLines = pipesFunction(async (req, pipes) => {
  const { key, lines, status } = req.body;
  const record = recordOf(key);
  record.started += 1;
  try {
    for (const line of lines) {
      await pipes.log.info(line);
      record.lines.push(line);
    }
  } catch (error) {
    record.raised += 1;
    throw error;
  }
  record.ended += 1;
  return new Response(JSON.stringify({ done: true }), { status, headers: { "Content-Type": "application/json" } });
}, OPTIONS);

export const main = (req, res) => ("asked" in req.body ? res.json(takeRecord(req.body.asked)) : logLines(req, res));
