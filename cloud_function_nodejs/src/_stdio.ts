/**
 * Forwards a function's output to Dagster, each request's output to its own session.
 *
 * `process.stdout` and `process.stderr` belong to the process. The first session that forwards gives both another
 * `write`, permanently, which finds the session in the context of the calling code.
 */

import { StringDecoder } from "node:string_decoder";

import { currentRequest } from "./_current_request.js";

/** Characters of a line that wait for its end. A progress bar never ends its line. */
const MAX_PARTIAL_LINE = 8 * 1024;
/** Characters of one message. */
const MAX_TEXT = 256 * 1024;
const FORWARDING = Symbol("gcf-pipes forwarding");

export type StreamName = "stdout" | "stderr";

let muted = false;

/** Do not forward what a function prints before it returns. */
export function notForwarded(print: () => void): void {
  const before = muted;
  muted = true;
  try {
    print();
  } finally {
    muted = before;
  }
}

/** The output of one session. Whole lines go to Dagster. */
export class ForwardedOutput {
  readonly #partial = {
    stdout: { decoder: new StringDecoder("utf8"), text: "" },
    stderr: { decoder: new StringDecoder("utf8"), text: "" },
  };
  #closed = false;

  /** @param send Sends text of a stream to Dagster. It neither waits nor throws. */
  constructor(readonly send: (stream: StreamName, text: string) => void) {
    forward("stdout");
    forward("stderr");
  }

  write(stream: StreamName, data: string | Uint8Array, encoding: BufferEncoding | undefined): void {
    if (this.#closed) return;
    const partial = this.#partial[stream];
    const bytes = typeof data === "string" ? Buffer.from(data, encoding) : Buffer.from(data);
    const held = partial.text + partial.decoder.write(bytes);
    const end = held.lastIndexOf("\n") + 1;
    const cut = held.length - end > MAX_PARTIAL_LINE ? held.length : end;
    partial.text = held.slice(cut);
    this.#send(stream, held.slice(0, cut));
  }

  /** Forward what waits for the end of its line, and the stack of the error with which the function failed. */
  close(error?: string): void {
    for (const stream of ["stdout", "stderr"] as const) {
      this.#send(stream, this.#partial[stream].text + this.#partial[stream].decoder.end());
    }
    if (error) this.#send("stderr", error);
    this.#closed = true;
  }

  #send(stream: StreamName, text: string): void {
    for (let start = 0; start < text.length; start += MAX_TEXT) {
      this.send(stream, text.slice(start, start + MAX_TEXT).toWellFormed());
    }
  }
}

type Write = NodeJS.WriteStream["write"];
interface Forwarding {
  [FORWARDING]?: boolean;
}

function forward(name: StreamName): void {
  const stream = process[name] as NodeJS.WriteStream & Forwarding;
  if (stream[FORWARDING]) return;
  stream[FORWARDING] = true;
  const original = stream.write as (...args: unknown[]) => boolean;
  stream.write = ((data: string | Uint8Array, ...rest: unknown[]) => {
    const output = muted ? undefined : currentRequest()?.output;
    const encoding = typeof rest[0] === "string" ? (rest[0] as BufferEncoding) : undefined;
    if (output) notForwarded(() => output.write(name, data, encoding));
    return original.call(stream, data, ...rest);
  }) as Write;
}
