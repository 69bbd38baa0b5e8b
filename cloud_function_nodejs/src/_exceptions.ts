/** Describes to Dagster whatever a function throws, within bounds. */

import { inspect } from "node:util";

import { MAX_EXCEPTION_CHAIN, MAX_EXCEPTION_CHARACTERS, RESPONSE_STATUS_EXCEPTION } from "./_protocol.js";
import { counted, thousands } from "./_text.js";

/** Up to this number, exceptions that are left out are counted. */
const MAX_COUNTED = 10_000;

/** An exception as Pipes describes it. */
export interface PipesException {
  message: string;
  stack: string[];
  name: string | null;
  cause: PipesException | null;
  context: PipesException | null;
}

/** Return an error's message and stack, and those of the errors that caused it. It never throws. */
export function describeError(error: unknown): PipesException {
  try {
    return describeChain(error);
  } catch (failure) {
    return exception(`An error that cannot be described because of ${safeName(failure)}\n`, [], null);
  }
}

/** Describe as an exception a function's response that is not 2xx. */
export function describeStatus(status: number, body: string): PipesException {
  const shown = body ? `Its body: ${body}` : "Its body is empty.";
  const message = `${RESPONSE_STATUS_EXCEPTION}: The function returned HTTP ${status}, expected 2xx. ${shown}\n`;
  return exception(message, [], RESPONSE_STATUS_EXCEPTION);
}

/**
 * Return the error itself if functions-framework can log it and respond to it. Otherwise an error with its description.
 *
 * The framework reads `stack` and `message` of what is thrown, and ends the process if that fails.
 */
export function asLoggable(error: unknown): Error {
  try {
    if (error instanceof Error && typeof error.stack === "string" && typeof error.message === "string") return error;
  } catch {
    // a getter that throws
  }
  return new Error(`The function threw ${describeError(error).message.trimEnd()}`);
}

/** Return the text that Node.js would print for an error. It never throws. */
export function formatError(error: unknown): string {
  const { message, stack, cause } = describeError(error);
  return `${message}${stack.join("")}${cause ? `Caused by: ${cause.message}${cause.stack.join("")}` : ""}`;
}

function describeChain(root: unknown): PipesException {
  const top = describe(root);
  const seen = new Set([root]);
  let [last, error] = [top, root];
  for (let count = 1; hasCause(error) && !seen.has(error.cause); count++) {
    if (count === MAX_EXCEPTION_CHAIN) {
      const others = countCauses(error.cause, seen);
      last.message += `${counted(others, "earlier exception")} left out. See the function's log.\n`;
      break;
    }
    error = error.cause;
    seen.add(error);
    last.cause = describe(error);
    last = last.cause;
  }
  return top;
}

function countCauses(first: unknown, seen: Set<unknown>): number {
  let count = 1;
  for (let error = first; count < MAX_COUNTED && hasCause(error) && !seen.has(error.cause); count++) {
    seen.add(error);
    error = error.cause;
  }
  return count;
}

function hasCause(error: unknown): error is Error {
  return error instanceof Error && error.cause !== undefined && error.cause !== null;
}

function describe(error: unknown): PipesException {
  if (!(error instanceof Error)) return exception(`${shown(error)}, which is not an Error\n`, [], null);
  const lines = [...messageLines(error), ...partLines(error)];
  return exception(lines.join(""), stackLines(error), error.name || error.constructor.name);
}

/** Return the messages of the errors in an `AggregateError`, and in those inside. */
function partLines(error: Error): string[] {
  const inside: unknown[] = error instanceof AggregateError ? [...error.errors] : [];
  const lines: string[] = [];
  for (let count = 0; inside.length && count < MAX_EXCEPTION_CHAIN; count++) {
    const part = inside.shift();
    lines.push(...messageLines(part).map((line) => `  ${line}`));
    if (part instanceof AggregateError) inside.unshift(...part.errors.slice(0, MAX_EXCEPTION_CHAIN));
  }
  return lines;
}

function messageLines(error: unknown): string[] {
  return error instanceof Error ? [`${`${error.name}: ${error.message}`.replace(/: $/, "")}\n`] : [`${shown(error)}\n`];
}

/** Return the frames of an error's stack. V8 puts the name and the message before them. */
function stackLines(error: Error): string[] {
  const lines = String(error.stack ?? "").split("\n");
  const first = lines.findIndex((line) => /^\s+at /.test(line));
  return first < 0 ? [] : lines.slice(first).map((line) => `${line}\n`);
}

function shown(value: unknown): string {
  return inspect(value, { depth: 2, maxStringLength: MAX_EXCEPTION_CHARACTERS });
}

function safeName(value: unknown): string {
  return value instanceof Error ? value.constructor.name : typeof value;
}

function exception(message: string, stack: string[], name: string | null): PipesException {
  const text = stack.join("");
  return {
    message: shortened(message),
    stack: text.length > MAX_EXCEPTION_CHARACTERS ? [shortened(text)] : stack,
    name: name && shortened(name),
    cause: null,
    context: null,
  };
}

/** Return a text, or its start and end if it is too long. */
function shortened(text: string): string {
  if (text.length <= MAX_EXCEPTION_CHARACTERS) return text;
  const half = MAX_EXCEPTION_CHARACTERS / 2 - 50;
  return `${text.slice(0, half)}\n[${thousands(text.length - 2 * half)} characters left out]\n${text.slice(-half)}`;
}
