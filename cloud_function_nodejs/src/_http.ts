/** One HTTP exchange with Node's own client, bounded in time and size. */

import http from "node:http";
import https from "node:https";

export interface HttpRequest {
  method: "GET" | "POST";
  headers?: Record<string, string>;
  body?: Uint8Array;
  /** Ends the exchange, whatever it waits for. */
  signal: AbortSignal;
  /** The largest body that is read, in bytes. */
  maxBytes: number;
}

export interface HttpResponse {
  status: number;
  body: Buffer;
  /** Whether the body has more than `maxBytes` bytes. The rest is not read. */
  truncated: boolean;
}

const AGENTS = {
  "http:": new http.Agent({ keepAlive: true }),
  "https:": new https.Agent({ keepAlive: true }),
};

/**
 * Send a request and read the response.
 *
 * Node's `fetch` loads a library of its own at its first use; the modules here are loaded by the server already.
 */
export function send(url: URL, request: HttpRequest): Promise<HttpResponse> {
  const isHttps = url.protocol === "https:";
  return new Promise((resolve, reject) => {
    const { method, signal, body } = request;
    const headers = { ...request.headers, "Content-Length": String(body?.length ?? 0) };
    const agent = AGENTS[isHttps ? "https:" : "http:"];
    const exchange = (isHttps ? https : http).request(url, { method, headers, signal, agent });
    exchange.on("error", reject);
    exchange.on("response", (response) => {
      readBody(response, request.maxBytes).then(resolve, reject);
    });
    exchange.end(body);
  });
}

async function readBody(response: http.IncomingMessage, maxBytes: number): Promise<HttpResponse> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response) {
    size += part.length;
    parts.push(part);
    if (size > maxBytes) break;
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(parts), truncated: size > maxBytes };
}
