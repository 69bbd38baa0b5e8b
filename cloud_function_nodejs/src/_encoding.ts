/** Encodes Pipes messages as lines of JSON, and refuses messages that Dagster would not accept. */

import { DagsterPipesError } from "./_errors.js";
import { MAX_CHUNK_BYTES, MAX_JSON_DEPTH, PIPES_VERSION, PIPES_VERSION_FIELD } from "./_protocol.js";
import { thousands } from "./_text.js";

export type Method =
  | "opened"
  | "closed"
  | "log"
  | "report_asset_materialization"
  | "report_asset_check"
  | "report_custom_message"
  | "log_external_stream";

/** Return a message as a line of JSON in UTF-8. */
export function encodeMessage(method: Method, params: Record<string, unknown>): Uint8Array {
  check(params, method, MAX_JSON_DEPTH - 1);
  const line = Buffer.from(`${JSON.stringify({ [PIPES_VERSION_FIELD]: PIPES_VERSION, method, params })}\n`);
  if (line.length > MAX_CHUNK_BYTES) {
    throw new DagsterPipesError(
      `Expected the Pipes message \`${method}\` to have at most ${thousands(MAX_CHUNK_BYTES)} bytes, ` +
        `got ${thousands(line.length)}.\nFix: Store large data in a bucket, and report its URI.`,
    );
  }
  return line;
}

/** Refuse what `JSON.stringify` would change silently, such as NaN and Map, and what is nested too deep. */
function check(value: unknown, method: Method, levels: number): void {
  if (value === null || value === undefined || typeof value === "string" || typeof value === "boolean") return;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) refuse(method, `JSON has no ${value}`);
    return;
  }
  if (typeof value !== "object") refuse(method, `JSON has no ${typeof value}`);
  if (typeof (value as { toJSON?: unknown }).toJSON === "function") {
    check(toJson(value, method), method, levels);
    return;
  }
  if (!Array.isArray(value) && !isPlain(value as object)) refuse(method, `JSON has no ${className(value as object)}`);
  if (levels === 0) {
    throw new DagsterPipesError(
      `Expected the params of the Pipes message \`${method}\` to be nested at most ${MAX_JSON_DEPTH} levels deep.\n` +
        "Fix: Flatten the value, or pass it as text: `JSON.stringify(value)`.",
    );
  }
  for (const part of Object.values(value as object)) check(part, method, levels - 1);
}

function toJson(value: unknown, method: Method): unknown {
  try {
    return JSON.parse(JSON.stringify(value));
  } catch (error) {
    return refuse(method, (error as Error).message);
  }
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function className(value: object): string {
  return value.constructor?.name || "such object";
}

function refuse(method: Method, reason: string): never {
  throw new DagsterPipesError(
    `Expected the params of the Pipes message \`${method}\` to be JSON serializable: ${reason}`,
  );
}
