// Calls as Dagster makes them.
import { randomUUID } from "node:crypto";
import http from "node:http";
import { deflateSync } from "node:zlib";

import { BUCKET } from "./emulator.mjs";

export const encode = (value) =>
  deflateSync(typeof value === "string" || Buffer.isBuffer(value) ? value : JSON.stringify(value)).toString("base64");

/** Return a prefix that no other call has. */
export const newPrefix = () => `dagster-pipes/run/step/${randomUUID()}`;

export const context = (data = {}) => ({
  data: { run_id: "run-1", job_name: "job", retry_number: 0, extras: {}, asset_keys: ["orders"], ...data },
});

/** Return the body of a call. */
export function body(prefix, event = {}, { messages = {}, context: contextParams = context() } = {}) {
  return JSON.stringify({
    ...event,
    DAGSTER_PIPES_CONTEXT: encode(contextParams),
    DAGSTER_PIPES_MESSAGES: encode({ bucket: BUCKET, key_prefix: prefix, ...messages }),
  });
}

/** Post a body, and return the response. */
export function post(url, data, headers = {}, method = "POST") {
  return new Promise((resolve, reject) => {
    const options = { method, headers: { "Content-Type": "application/json", ...headers }, agent: false };
    const request = http.request(url, options, async (response) => {
      let text = "";
      for await (const part of response.setEncoding("utf8")) text += part;
      resolve({ status: response.statusCode, headers: response.headers, text });
    });
    request.on("error", reject);
    request.end(data);
  });
}

/** Call a function, and return the response with the session's prefix. */
export async function call(server, event = {}, { headers, prefix = newPrefix(), ...params } = {}) {
  const response = await post(server.url, body(prefix, event, params), headers);
  return { ...response, prefix, json: () => JSON.parse(response.text) };
}
