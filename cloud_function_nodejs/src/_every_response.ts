/**
 * Adds headers to every response of the process, also to those in which no function takes part.
 *
 * `dagster-gcf-pipes doctor` reads the headers of the 404 for /robots.txt, because it must not run the user's code. And
 * functions-framework refuses a body that it cannot parse before a function sees it.
 */

import { subscribe } from "node:diagnostics_channel";
import type { IncomingMessage, ServerResponse } from "node:http";

import { OUR_HEADERS } from "./_halves.js";
import { CHUNK_COUNT_HEADER, ERROR_HEADER } from "./_protocol.js";

const ARRIVED = Symbol("gcf-pipes arrived");
const REACHED = Symbol("gcf-pipes reached");
/** The statuses with which body-parser refuses a body. Source: https://github.com/expressjs/body-parser#errors */
const REFUSED_BODY = new Set([400, 413, 415]);

interface Marked {
  [ARRIVED]?: number;
  [REACHED]?: boolean;
}

let isSubscribed = false;

/** Add the headers from now on. */
export function describeWithEveryResponse(): void {
  if (isSubscribed) return;
  isSubscribed = true;
  subscribe("http.server.request.start", (message) => {
    const { request, response } = message as { request: IncomingMessage & Marked; response: ServerResponse };
    request[ARRIVED] = performance.now();
    for (const [name, value] of Object.entries(OUR_HEADERS)) response.setHeader(name, value);
    markRefusedBody(request, response);
  });
}

/** Return when a request arrived, and note that a function has it now. */
export function reach(request: IncomingMessage & Marked): number {
  request[REACHED] = true;
  return request[ARRIVED] ?? performance.now();
}

function markRefusedBody(request: Marked, response: ServerResponse): void {
  const writeHead = response.writeHead;
  response.writeHead = function (this: ServerResponse, ...args: unknown[]) {
    if (!request[REACHED] && REFUSED_BODY.has(Number(args[0])) && !response.headersSent) {
      response.setHeader(ERROR_HEADER, "bad_request");
      response.setHeader(CHUNK_COUNT_HEADER, "0");
    }
    return Reflect.apply(writeHead, this, args);
  } as typeof writeHead;
}
