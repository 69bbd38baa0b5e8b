/** Stops a call from inside: after Dagster has terminated its run, or shortly before the function's timeout. */

import type { CallDeadline } from "./_deadline.js";
import { PipesCancelledError } from "./_errors.js";
import { logOwn } from "./_own_logs.js";
import type { ObjectStore } from "./_storage.js";

/** Seconds between two polls for the cancel marker. */
const POLL_INTERVAL = 10;
/** Seconds that one poll may take, with its retries. Nobody waits for it. */
const POLL_TIMEOUT = 10;
const MAX_MARKER_BYTES = 1024;

/** Aborts a signal when the cancel marker exists, or when the time for the function's code is up. */
export class Interruption {
  readonly #controller = new AbortController();
  #poller: NodeJS.Timeout | undefined;
  #timer: NodeJS.Timeout | undefined;
  #warned = false;

  /**
   * @param store The bucket.
   * @param keys The names of the cancel markers: the session's, and one that many calls share.
   * @param deadline When the call must end.
   */
  constructor(
    readonly store: ObjectStore,
    readonly keys: readonly string[],
    readonly deadline: CallDeadline,
  ) {}

  /** Aborted when the function's code should stop. Its reason is the error. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  start(): void {
    this.#poller = setInterval(() => void this.#poll(), POLL_INTERVAL * 1000);
    if (Number.isFinite(this.deadline.workUntil)) {
      const delay = Math.max(this.deadline.workUntil - performance.now(), 0);
      this.#timer = setTimeout(() => this.#abort(this.deadline.error()), delay);
    }
  }

  /** Stop polling, without waiting for a poll under way. */
  stop(): void {
    clearInterval(this.#poller);
    clearTimeout(this.#timer);
    this.#poller = undefined;
  }

  async #poll(): Promise<void> {
    try {
      for (const key of this.keys) {
        const marker = await this.store.read(key, MAX_MARKER_BYTES, POLL_TIMEOUT);
        if (marker && this.#poller) this.#abort(new PipesCancelledError("Dagster has terminated the run."));
      }
    } catch (error) {
      if (this.#warned) return;
      this.#warned = true;
      const text = "[pipes] cannot tell whether Dagster has terminated the run, will try again";
      logOwn("WARNING", `${text}: ${(error as Error).message}`);
    }
  }

  #abort(error: Error): void {
    this.stop();
    this.#controller.abort(error);
  }
}
