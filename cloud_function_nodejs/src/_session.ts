/** One claimed session: runs the function's code, and stores its outcome. */

import type { EventEmitter } from "node:events";

import type { Interruption } from "./_cancellation.js";
import type { Channel } from "./_channel.js";
import type { PipesContext } from "./_context.js";
import type { PipesContextData } from "./_context_data.js";
import type { PipesException } from "./_exceptions.js";
import { formatError } from "./_exceptions.js";
import { logOwn } from "./_own_logs.js";
import type { ClosedResponse, Usage } from "./_protocol.js";
import { ForwardedOutput } from "./_stdio.js";

/** Seconds that the function's code has to clean up after `pipes.signal` is aborted; less if the deadline is near. */
const CLEANUP_TIME = 5;

/** What `closed` says besides the usage: an exception, or the response of a function that succeeded. */
export interface Outcome {
  exception?: PipesException | undefined;
  response?: ClosedResponse | undefined;
}

export class Session {
  /** The output of the function's code, if Dagster asks for it. */
  readonly output: ForwardedOutput | undefined;

  constructor(
    readonly pipes: PipesContext,
    readonly data: PipesContextData,
    readonly channel: Channel,
    readonly interruption: Interruption,
    forwardsOutput: boolean,
  ) {
    if (forwardsOutput) this.output = new ForwardedOutput((stream, text) => channel.writeOutput(stream, text));
  }

  /**
   * Run the function's code until it returns or throws.
   *
   * It also ends with an error that nobody handles, and some time after the interruption, even if the code goes on.
   */
  run<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      rejectWhenUnhandled(reject);
      this.#rejectWhenInterrupted(reject);
      work().then(resolve, reject);
    });
  }

  /** Store the outcome and the last messages. */
  async end(outcome: Outcome, usage: Usage, error?: unknown): Promise<void> {
    this.interruption.stop();
    this.output?.close(error === undefined ? undefined : formatError(error));
    const closed = Object.fromEntries(Object.entries(outcome).filter(([, value]) => value !== undefined));
    await this.channel.end({ ...closed, usage });
  }

  #rejectWhenInterrupted(reject: (error: unknown) => void): void {
    const { signal, deadline } = this.interruption;
    const onAbort = () => {
      const left = (deadline.flushUntil - performance.now()) / 2;
      setTimeout(() => reject(signal.reason), Math.min(CLEANUP_TIME * 1000, Math.max(left, 0)));
    };
    signal.addEventListener("abort", onAbort, { once: true });
  }
}

/**
 * End with an error that nobody handles: one that is thrown in a timer or a callback, or that rejects a promise.
 *
 * functions-framework runs each request in a domain, and responds to such an error at once. Then Dagster would not learn
 * the outcome. So the session takes the error, and the framework gets it after the outcome is stored.
 *
 * Source: src/function_wrappers.ts of GoogleCloudPlatform/functions-framework-nodejs (`wrapHttpFunction`).
 */
function rejectWhenUnhandled(reject: (error: unknown) => void): void {
  const { domain } = process as { domain?: EventEmitter | null };
  if (!domain) return;
  let isFirst = true;
  domain.removeAllListeners("error");
  domain.on("error", (error: unknown) => {
    if (!isFirst) logOwn("ERROR", `[pipes] another error that nobody handles: ${formatError(error)}`);
    isFirst = false;
    reject(error);
  });
}
