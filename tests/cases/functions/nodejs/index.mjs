// The function of the cases, with the same tasks as the one in Python: the event names a task.
//
// A task notes in the file `notes` of the event, if it names one, what happens in the function. A test that waits for
// something in the function reads that file. A task that waits for a test waits until the file `gate` exists.

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

import { pipesFunction } from "gcf-pipes";

const LEVELS = ["debug", "info", "warning", "error", "critical"];

function note(event, text) {
  if ("notes" in event) appendFileSync(event.notes, `${text}\n`);
}

async function gateOf(event) {
  while (!existsSync(event.gate)) await pause(20);
}

// The names of an event are those of Python.
function materialization({ asset_key: assetKey, data_version: dataVersion, metadata }) {
  return { assetKey, dataVersion, metadata: metadata && withTypes(metadata) };
}

function withTypes(metadata) {
  const typed = (value) => {
    const isTyped = value !== null && typeof value === "object" && "raw_value" in value;
    return isTyped ? { rawValue: value.raw_value, type: value.type } : value;
  };
  return Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, typed(value)]));
}

async function reportCheck(pipes, { check_name: checkName, asset_key: assetKey, passed, severity, metadata }) {
  await pipes.reportAssetCheck({ checkName, assetKey, passed, severity, metadata: metadata && withTypes(metadata) });
}

// ---------------------------------------------------------------------------------------- the six tasks of conformance

async function report(pipes) {
  for (const level of LEVELS) pipes.log[level](`conformance: ${level.toUpperCase()}`);
  const [assetKey] = pipes.assetKeys;
  const metadata = metadataOfEachType(pipes, assetKey);
  await pipes.reportAssetMaterialization({ metadata, dataVersion: "v1", assetKey });
  await pipes.reportAssetCheck({ checkName: "conformance", passed: true, severity: "WARN", assetKey });
  await pipes.reportCustomMessage({ conformance: "custom" });
  return { task: "report" };
}

function metadataOfEachType(pipes, key) {
  const columns = [{ name: "rows", type: "int", description: "how many", constraints: { nullable: false } }];
  const values = {
    text: "some words",
    url: "https://example.com/orders?day=1",
    path: "/tmp/orders.parquet",
    notebook: "/tmp/orders.ipynb",
    json: { nested: [1, null, { deep: true }] },
    md: "**bold**",
    float: 1.5,
    int: 3,
    bool: true,
    dagster_run: pipes.runId,
    asset: key,
    null: null,
    table: { records: [{ rows: 3 }, { rows: 4 }], schema: columns },
    table_schema: { columns },
    table_column_lineage: { deps_by_column: { rows: [{ asset_key: key, column_name: "id" }] } },
    timestamp: 1704067200,
  };
  return Object.fromEntries(Object.entries(values).map(([type, rawValue]) => [type, { rawValue, type }]));
}

async function echo(pipes, event) {
  const keys = pipes.isPartitionStep ? pipes.partitionKeyRange : null;
  const entries = Object.entries(event).filter(([key]) => !key.startsWith("DAGSTER_PIPES_"));
  const seen = {
    event: Object.fromEntries(entries),
    extras: pipes.extras,
    run_id: pipes.runId,
    job_name: pipes.jobName,
    retry_number: pipes.retryNumber,
    asset_keys: pipes.isAssetStep ? pipes.assetKeys : null,
    partition_key: keys && keys.start === keys.end ? pipes.partitionKey : null,
    partition_key_range: keys,
    partition_time_window: keys ? pipes.partitionTimeWindow : null,
    provenance_by_asset_key: pipes.isAssetStep ? pipes.provenanceByAssetKey : null,
    code_version_by_asset_key: pipes.isAssetStep ? pipes.codeVersionByAssetKey : null,
  };
  await pipes.reportCustomMessage(seen);
  return seen;
}

async function fail(pipes) {
  pipes.log.info("conformance: before");
  throw new TypeError("conformance failure", { cause: new RangeError("conformance cause") });
}

async function sleep(pipes, event) {
  await pause(event.seconds * 1000, undefined, { signal: pipes.signal });
  pipes.log.info("conformance: slept");
  return { task: "sleep" };
}

async function burst(pipes, event) {
  for (let number = 0; number < event.lines; number++) await pipes.log.info(`${number} `.padEnd(event.size, "x"));
  return { task: "burst" };
}

async function status(pipes, event) {
  pipes.log.info("conformance: status");
  return new Response(event.body, { status: event.status });
}

// ------------------------------------------------------------------------------------------------------------- messages

async function materialize(pipes, event) {
  for (const each of event.reports) await pipes.reportAssetMaterialization(materialization(each));
  for (const each of event.checks ?? []) await reportCheck(pipes, each);
  if (event.fails) throw new Error("after all was reported");
  return {};
}

async function partitions(pipes, event) {
  for (const key of event.partitions) {
    await pipes.reportPartitionMaterialization(key, { metadata: { day: key }, dataVersion: `version of ${key}` });
  }
  return {};
}

async function custom(pipes, event) {
  for (const payload of event.payloads) await pipes.reportCustomMessage(payload);
  return {};
}

async function log(pipes, event) {
  for (const [level, text] of event.lines) await pipes.log[level](text);
  return { logged: event.lines.length };
}

async function large(pipes, event) {
  pipes.log.info("before");
  await pipes.reportCustomMessage({ letters: "x".repeat(event.size) });
  pipes.log.info("after");
  return {};
}

async function at_once(pipes, event) {
  const work = async (name) => {
    for (let number = 0; number < event.lines; number++) {
      await pipes.log.info(`worker ${name} line ${number}`);
      await pause(0);
    }
  };
  await Promise.all(Array.from({ length: event.workers }, (_, name) => work(name)));
  return {};
}

async function prints(_pipes, event) {
  for (const line of event.stdout) console.log(line);
  for (const line of event.stderr) console.error(line);
  return {};
}

async function lines(pipes, event) {
  for (let number = 0; number < event.count; number++) {
    await pipes.log.info(`${event.tag} ${number}`);
    await pause(0); // so that calls take turns
  }
  await pipes.reportCustomMessage(event.tag);
  await pipes.reportAssetMaterialization({ metadata: { tag: event.tag } });
  if (event.fails) throw new Error(`${event.tag} fails`);
  return { tag: event.tag };
}

// ------------------------------------------------------------------------------------------------------------ responses

async function respond(_pipes, event) {
  switch (event.kind) {
    case "letters":
      return new Response("x".repeat(event.size), { headers: { "Content-Type": "text/plain; charset=utf-8" } });
    case "bytes":
      return new Response(Uint8Array.from({ length: 256 }, (_, byte) => byte), {
        headers: { "Content-Type": "application/octet-stream" },
      });
    case "empty":
      return new Response("");
    default:
      return undefined;
  }
}

// --------------------------------------------------------------------------------------------------------------- errors

async function chain(_pipes, event) {
  let error;
  for (let number = 0; number < event.count; number++) error = new Error(`number ${number}`, { cause: error });
  throw error;
}

async function long_error(_pipes, event) {
  throw new Error(`the start ${"x".repeat(event.size)} the end`);
}

async function unserializable(pipes) {
  await pipes.reportCustomMessage({ when: 3n });
  return {};
}

async function nested(pipes, event) {
  let value = "leaf";
  for (let level = 0; level < event.depth; level++) value = [value];
  try {
    await pipes.reportCustomMessage(value);
  } catch (error) {
    return { refused: error.message };
  }
  return { refused: null };
}

async function handles(pipes) {
  try {
    JSON.parse("no JSON");
  } catch (error) {
    await pipes.log.warning(`went on after: ${error.message}`);
  }
  return { handled: true };
}

async function fails_at_first(pipes, event) {
  const started = readFileSync(event.notes, "utf8").split("\n").filter((line) => line === "started");
  if (started.length === 1) throw new Error("the source is away");
  await pipes.reportAssetMaterialization({ metadata: { retry: pipes.retryNumber } });
  return {};
}

// ----------------------------------------------------------------------------------------------------------------- ends

async function waits(pipes, event) {
  pipes.log.info("before");
  await gateOf(event);
  pipes.log.info("after");
  note(event, "ended");
  return { waited: true };
}

async function dies(pipes, event) {
  pipes.log.info("before");
  await gateOf(event);
  process.kill(process.pid, "SIGKILL");
  await pause(60_000);
}

async function loops(pipes, event) {
  for (;;) {
    try {
      await pipes.log.info("still here");
    } catch (error) {
      note(event, `stopped by ${error.name}`);
      throw error;
    }
    await pause(50);
  }
}

async function watches(pipes, event) {
  pipes.log.info("no more messages");
  while (!pipes.signal.aborted) await pause(50);
  note(event, "has seen the cancellation");
  return {};
}

async function goes_on(pipes, event) {
  await watches(pipes, event);
  await gateOf(event);
  try {
    await pipes.log.info("ignored the cancellation");
  } catch (error) {
    note(event, `refused with ${error.name}`);
  }
  note(event, "ended");
  return {};
}

async function leaves_work(pipes, event) {
  const work = async () => {
    await gateOf(event);
    try {
      await pipes.log.info("after the end");
      note(event, "the line was taken");
    } catch {
      note(event, "the line was refused");
    }
  };
  void work();
  return { returned: true };
}

const TASKS = {
  ...{ report, echo, fail, sleep, burst, status },
  ...{ materialize, partitions, custom, log, large, at_once, prints, lines },
  ...{ respond, chain, long_error, unserializable, nested, handles, fails_at_first },
  ...{ waits, dies, loops, watches, goes_on, leaves_work },
};

export const main = pipesFunction(
  async (req, pipes) => {
    const event = req.body;
    note(event, "started");
    if (!(event.task in TASKS)) throw new TypeError(`There is no task ${event.task}.`);
    return await TASKS[event.task](pipes, event);
  },
  { flushInterval: 0.05, heartbeatInterval: 0.5 },
);
