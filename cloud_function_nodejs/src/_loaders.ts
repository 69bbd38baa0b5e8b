/** Loads the Pipes bootstrap params from a request's body, and the Pipes context from the params or the bucket. */

import { inflateSync } from "node:zlib";

import type { AllowedLocations } from "./_allowed_locations.js";
import { type PipesContextData, validatedContext } from "./_context_data.js";
import { PipesRequestError } from "./_errors.js";
import {
  checkPipesVersion,
  getParam,
  type JsonObject,
  type JsonType,
  parseJsonObject,
  validateJson,
} from "./_json_validation.js";
import {
  CONTEXT_KEY,
  MAX_CONTEXT_BYTES,
  MAX_CONTEXT_MARKS,
  MAX_EVENT_MARKS,
  MAX_INLINE_CONTEXT_BYTES,
  MAX_MESSAGES_PARAMS_BYTES,
  MESSAGES_KEY,
} from "./_protocol.js";
import { ObjectStore, type Storage } from "./_storage.js";
import { jsonType, MAX_SHOWN, quoted, thousands } from "./_text.js";

const MAX_NAMED_KEYS = 20;
/** Seconds for reading the context object, with retries. */
const READ_TIMEOUT = 30;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** The params of the message reader. */
export interface MessagesParams {
  bucket: string;
  key_prefix?: string | null;
  shared_prefix?: string | null;
  include_stdio_in_messages?: boolean | null;
  partition_materializations?: boolean | null;
}

const OPTIONAL_STRING: JsonType = { kind: "either", types: [{ kind: "string" }, { kind: "null" }] };
const OPTIONAL_BOOLEAN: JsonType = { kind: "either", types: [{ kind: "boolean" }, { kind: "null" }] };
const MESSAGES_PARAMS: JsonType = {
  kind: "object",
  fields: {
    bucket: { kind: "string" },
    key_prefix: OPTIONAL_STRING,
    shared_prefix: OPTIONAL_STRING,
    include_stdio_in_messages: OPTIONAL_BOOLEAN,
    partition_materializations: OPTIONAL_BOOLEAN,
  },
  required: [],
};

/** Parse the body of a request. */
export function parseEvent(body: Uint8Array): JsonObject {
  return parseJsonObject(body, "the request body", MAX_EVENT_MARKS);
}

/** Load the params of the message writer. */
export function loadMessagesParams(event: JsonObject): MessagesParams {
  const params = loadParams(event, MESSAGES_KEY, MAX_MESSAGES_PARAMS_BYTES);
  validateJson(params, MESSAGES_PARAMS, "the messages params");
  getParam(params, "bucket", "messages");
  return params as unknown as MessagesParams;
}

/**
 * Load the context from the event, or from the bucket that its params name. It never reads a local file.
 *
 * @param event The body of the request.
 * @param storage Where the bucket is.
 * @param allowed The buckets and the prefix that a call may name.
 */
export async function loadContext(
  event: JsonObject,
  storage: Storage,
  allowed: AllowedLocations,
): Promise<PipesContextData> {
  const params = loadParams(event, CONTEXT_KEY, MAX_INLINE_CONTEXT_BYTES);
  if (Object.hasOwn(params, "data")) return validatedContext(params.data);
  const bucket = getParam(params, "bucket", "context");
  const key = getParam(params, "key", "context");
  allowed.check(bucket, key, "context");
  const data = await new ObjectStore(storage, bucket).read(key, MAX_CONTEXT_BYTES, READ_TIMEOUT);
  const where = `the context at gs://${bucket}/${key}`;
  if (!data) throw new PipesRequestError(`Expected ${where}, but there is no such object.`);
  return validatedContext(parseJsonObject(data, where, MAX_CONTEXT_MARKS));
}

function loadParams(event: JsonObject, key: string, maxBytes: number): JsonObject {
  if (!Object.hasOwn(event, key)) {
    const names = Object.keys(event)
      .sort()
      .slice(0, MAX_NAMED_KEYS)
      .map((name) => quoted(name.slice(0, MAX_SHOWN)));
    throw new PipesRequestError(
      `Expected the request body to have the Dagster Pipes key '${key}', got ` +
        `${names.length ? `[${names.join(", ")}]` : "no keys"}.\nFix: Call this function from Dagster with ` +
        "`PipesCloudFunctionClient.run`, or merge `get_bootstrap_env_vars()` of a Pipes session into the body.",
    );
  }
  const encoded = event[key];
  if (typeof encoded !== "string") {
    throw new PipesRequestError(`Expected '${key}' to be a string, got ${jsonType(encoded)}.`);
  }
  const params = parseJsonObject(decode(key, encoded, maxBytes), `'${key}'`, MAX_CONTEXT_MARKS);
  checkPipesVersion(params, `'${key}'`);
  return params;
}

function decode(key: string, encoded: string, maxBytes: number): Buffer {
  try {
    if (!BASE64.test(encoded)) throw new Error("it is not base64");
    return inflateSync(Buffer.from(encoded, "base64"), { maxOutputLength: maxBytes });
  } catch (error) {
    throw new PipesRequestError(
      `Expected '${key}' to be JSON in UTF-8, compressed with zlib and encoded with base64, ` +
        `as \`get_bootstrap_env_vars()\` encodes it, but it cannot be decoded: ${decodeProblem(error, maxBytes)}`,
      { cause: error },
    );
  }
}

function decodeProblem(error: unknown, maxBytes: number): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ERR_BUFFER_TOO_LARGE") return `it is larger than ${thousands(maxBytes)} bytes`;
  return code === "Z_BUF_ERROR" ? "it is incomplete" : message;
}
