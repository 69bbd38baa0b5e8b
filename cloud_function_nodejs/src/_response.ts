/** Makes the HTTP response of what a function returns. */

import type { ServerResponse } from "node:http";

import { describeStatus, type PipesException } from "./_exceptions.js";
import { type ClosedResponse, MAX_CLOSED_RESPONSE_BYTES } from "./_protocol.js";

/** Characters that Dagster shows of a response that is not 2xx. */
const MAX_BODY_SHOWN = 1000;
/** What a function may not set: our headers, and those that describe how the body is sent. */
const OUR_NAMES = /^(dagster-pipes-|content-length$|transfer-encoding$|connection$)/i;
const JSON_TYPE = "application/json; charset=utf-8";

/** What a function returned, complete. */
export interface FunctionResponse {
  status: number;
  headers: [string, string][];
  body: Buffer;
}

/**
 * Return the response that a function's value stands for.
 *
 * A `Response` keeps its status and headers. Nothing becomes an empty 204, a string HTML as in Express, bytes a binary
 * body, and any other value JSON. A value that JSON cannot represent throws.
 */
export async function completeResponse(value: unknown): Promise<FunctionResponse> {
  if (value === undefined || value === null) return { status: 204, headers: [], body: Buffer.alloc(0) };
  if (isResponse(value)) {
    return { status: value.status, headers: [...value.headers], body: Buffer.from(await value.arrayBuffer()) };
  }
  if (typeof value === "string") return response("text/html; charset=utf-8", Buffer.from(value));
  if (value instanceof Uint8Array) return response("application/octet-stream", Buffer.from(value));
  const json: string | undefined = JSON.stringify(value);
  if (json === undefined) throw new TypeError(`Expected the function to return a response, got a ${typeof value}.`);
  return response(JSON_TYPE, Buffer.from(json));
}

/** Return a response of the runtime itself. */
export function jsonResponse(status: number, value: unknown): FunctionResponse {
  return { ...response(JSON_TYPE, Buffer.from(JSON.stringify(value))), status };
}

/** Whether a value is a `Response`. `instanceof` would load all of `fetch`, at the first request of each process. */
function isResponse(value: unknown): value is Response {
  return Object.prototype.toString.call(value) === "[object Response]";
}

function response(contentType: string, body: Buffer): FunctionResponse {
  return { status: 200, headers: [["content-type", contentType]], body };
}

/** Return a response that is short enough for `closed`, or undefined. */
export function shortResponse({ status, headers, body }: FunctionResponse): ClosedResponse | undefined {
  if (body.length > MAX_CLOSED_RESPONSE_BYTES) return undefined;
  const contentType = headers.find(([name]) => name === "content-type")?.[1] ?? "";
  const text = body.toString("utf8");
  return Buffer.from(text).equals(body) ? { status, content_type: contentType, body: text } : undefined;
}

/** Return the exception for a status that is not 2xx, or undefined. */
export function statusException({ status, body }: FunctionResponse): PipesException | undefined {
  if (status >= 200 && status < 300) return undefined;
  return describeStatus(
    status,
    body
      .subarray(0, 4 * MAX_BODY_SHOWN)
      .toString("utf8")
      .slice(0, MAX_BODY_SHOWN),
  );
}

/** Send a response. Our headers replace those that the function may have copied from another function's response. */
export function sendResponse(
  res: ServerResponse,
  { status, headers, body }: FunctionResponse,
  ours: Readonly<Record<string, string>> = {},
): void {
  res.statusCode = status;
  for (const [name, value] of headers) if (!OUR_NAMES.test(name)) res.appendHeader(name, value);
  for (const [name, value] of Object.entries(ours)) res.setHeader(name, value);
  if (status !== 204 && status !== 304) res.setHeader("Content-Length", body.length);
  res.end(body);
}
