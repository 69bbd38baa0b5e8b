/** When a call must end. */

import { PipesDeadlineExceededError } from "./_errors.js";

/** Seconds of the timeout that are kept for storing the last messages; at most a tenth of it. */
const FLUSH_RESERVE = 10;
/** Seconds of the timeout that are kept for the response; at most a hundredth of it. */
const RESPONSE_RESERVE = 1;

/** When a call must end, counted from the arrival of its request. Times are those of `performance.now()`. */
export class CallDeadline {
  /** When the function's code must end. */
  readonly workUntil: number;
  /** When the last messages must be stored. */
  readonly flushUntil: number;
  readonly #arrived: number;

  /**
   * @param timeout Seconds that the request may take, or undefined if it is not limited.
   * @param arrived When the request arrived.
   */
  constructor(timeout: number | undefined, arrived: number) {
    const endsAt = timeout === undefined ? Number.POSITIVE_INFINITY : arrived + timeout * 1000;
    this.#arrived = arrived;
    this.workUntil = endsAt - 1000 * Math.min(FLUSH_RESERVE, (timeout ?? 0) / 10);
    this.flushUntil = endsAt - 1000 * Math.min(RESPONSE_RESERVE, (timeout ?? 0) / 100);
  }

  /** The error with which the function's code ends. */
  error(): PipesDeadlineExceededError {
    const seconds = Math.round((performance.now() - this.#arrived) / 1000);
    return new PipesDeadlineExceededError(
      `The function ran out of time after ${seconds} s.\nFix: Give it less work per call, ` +
        "or deploy it with `--timeout` set higher. If you call it by URL, raise `function_timeout` of the " +
        "Dagster resource too.",
    );
  }
}
