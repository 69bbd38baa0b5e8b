/** Logs lines of the runtime itself. They never become Pipes messages. */

import { printEntry } from "./_structured_logs.js";

/** Log a line of the runtime, with its cause's stack if there is one. */
export function logOwn(severity: "WARNING" | "ERROR", text: string, cause?: unknown): void {
  const stack = cause instanceof Error ? `\n${cause.stack ?? cause.message}` : "";
  printEntry(severity, `${text}${stack}`);
}
