/** Decides whether a request is a call from Dagster that this function may serve, and claims its session. */

import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";

import type { Request } from "@google-cloud/functions-framework";

import { Interruption } from "./_cancellation.js";
import { Channel } from "./_channel.js";
import { PipesContext } from "./_context.js";
import { CallDeadline } from "./_deadline.js";
import { PipesRequestError } from "./_errors.js";
import { type Execution, openedFacts } from "./_execution.js";
import { PROTOCOL_TEXT, parseHalf, problemWith } from "./_halves.js";
import { loadContext, loadMessagesParams, type MessagesParams, parseEvent } from "./_loaders.js";
import type { Process } from "./_process.js";
import {
  MAX_REQUEST_BYTES,
  PROTOCOL_HEADER,
  SessionPrefix,
  STORAGE_HEADER,
  TIMEOUT_HEADER,
  VERSION,
  VERSION_HEADER,
} from "./_protocol.js";
import { Session } from "./_session.js";
import { ObjectStore } from "./_storage.js";
import { excerpt, thousands } from "./_text.js";

/**
 * Check a request, load its context, and claim its session. Whatever is refused is refused before the user's code runs.
 *
 * @param own The state of the entry point.
 * @param req The request.
 * @param execution Facts about it.
 * @param arrived When it arrived.
 */
export async function admit(own: Process, req: Request, execution: Execution, arrived: number): Promise<Session> {
  checkMethod(req);
  checkDagsterSide(req);
  own.storage.checkSameAs(header(req, STORAGE_HEADER));
  const deadline = new CallDeadline(readTimeout(req), arrived);
  const event = parseEvent(await readBody(req));
  const params = loadMessagesParams(event);
  const prefixes = admittedPrefixes(own, params); // refuse before the large context is parsed
  const data = await loadContext(event, own.storage, own.allowed);

  const store = new ObjectStore(own.storage, params.bucket);
  const markers = prefixes.map((prefix) => prefix.cancelKey);
  const interruption = new Interruption(store, markers, deadline);
  const [prefix] = prefixes;
  const channel = new Channel(store, prefix, deadline, interruption.signal, own.options);
  await channel.claim({ extras: openedExtras(own, execution) });
  interruption.start();
  const takesPartitions = params.partition_materializations === true;
  const pipes = new PipesContext(data, channel, { takesPartitions, trace: execution.trace });
  return new Session(pipes, data, channel, interruption, params.include_stdio_in_messages === true);
}

function openedExtras(own: Process, execution: Execution): Record<string, unknown> {
  return {
    delivery_id: randomUUID().replaceAll("-", ""), // makes the first chunk of each delivery unique
    heartbeat_interval: own.options.heartbeatInterval,
    ...openedFacts(execution),
    protocol: PROTOCOL_TEXT,
    version: VERSION,
    closes_with_request: true,
  };
}

function checkMethod(req: Request): void {
  if (req.method !== "POST") throw new PipesRequestError(`Expected the HTTP method POST, got ${excerpt(req.method)}.`);
}

/** Refuse a call of a version that cannot work with this one, or that needs what this one does not have. */
function checkDagsterSide(req: Request): void {
  const protocol = header(req, PROTOCOL_HEADER);
  if (protocol === undefined) return; // another caller, or a proxy removed it: Dagster also checks `opened`
  const dagster = parseHalf(protocol, header(req, VERSION_HEADER));
  if (!dagster) {
    throw new PipesRequestError(
      `Expected the header ${PROTOCOL_HEADER} to be like '${PROTOCOL_TEXT}', got ${excerpt(protocol)}.`,
    );
  }
  const problem = problemWith(dagster);
  if (problem) throw new PipesRequestError(problem);
}

function readTimeout(req: Request): number | undefined {
  const value = header(req, TIMEOUT_HEADER);
  if (value === undefined) return undefined;
  if (!/^[1-9][0-9]{0,5}$/.test(value)) {
    throw new PipesRequestError(`Expected the header ${TIMEOUT_HEADER} to be whole seconds, got ${excerpt(value)}.`);
  }
  return Number(value);
}

/** Return the session's prefix, and the one that the sessions of many calls share if there is one. */
function admittedPrefixes(own: Process, params: MessagesParams): [SessionPrefix, ...SessionPrefix[]] {
  const session = new SessionPrefix(params.bucket, params.key_prefix ?? "");
  own.allowed.check(session.bucket, session.path, "messages");
  if (typeof params.shared_prefix !== "string") return [session];
  const shared = new SessionPrefix(params.bucket, params.shared_prefix);
  own.allowed.check(shared.bucket, shared.path, "messages");
  return [session, shared];
}

/** Return the body. functions-framework leaves a body without a content type to its function. */
async function readBody(req: Request): Promise<Uint8Array> {
  if (req.rawBody) return req.rawBody;
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of req as IncomingMessage) {
    parts.push(part);
    size += part.length;
    if (size > MAX_REQUEST_BYTES) {
      throw new PipesRequestError(`Expected the request body to have at most ${thousands(MAX_REQUEST_BYTES)} bytes.`);
    }
  }
  return Buffer.concat(parts);
}

function header(req: Request, name: string): string | undefined {
  const value = req.headers[name.toLowerCase()];
  return Array.isArray(value) ? value.join(", ") : value;
}
