/** The logger of a call. */

import { format } from "node:util";

/** The levels of Dagster, in their order. */
export type PipesLogLevel = "DEBUG" | "INFO" | "WARNING" | "ERROR" | "CRITICAL";

/**
 * Sends log lines to Dagster, in the order of the calls.
 *
 * A call takes a text and values, as `console.log` does. It returns a promise that waits while the buffer of messages
 * is full. You need not await it; do so in a loop that logs much, so that memory stays bounded. Nobody needs to catch
 * its error either: what ends a call, such as its cancellation, also ends the function.
 */
export class PipesLogger {
  readonly #send: (level: PipesLogLevel, message: string) => Promise<void>;

  constructor(send: (level: PipesLogLevel, message: string) => Promise<void>) {
    this.#send = send;
  }

  debug(message: unknown, ...values: unknown[]): Promise<void> {
    return this.#log("DEBUG", message, values);
  }

  info(message: unknown, ...values: unknown[]): Promise<void> {
    return this.#log("INFO", message, values);
  }

  warning(message: unknown, ...values: unknown[]): Promise<void> {
    return this.#log("WARNING", message, values);
  }

  /** The name of `console` for `warning`. */
  warn(message: unknown, ...values: unknown[]): Promise<void> {
    return this.#log("WARNING", message, values);
  }

  error(message: unknown, ...values: unknown[]): Promise<void> {
    return this.#log("ERROR", message, values);
  }

  critical(message: unknown, ...values: unknown[]): Promise<void> {
    return this.#log("CRITICAL", message, values);
  }

  #log(level: PipesLogLevel, message: unknown, values: unknown[]): Promise<void> {
    const sent = this.#send(level, format(message, ...values));
    sent.catch(() => {}); // a rejection that nobody handles would end the process
    return sent;
  }
}
