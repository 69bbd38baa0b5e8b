/** Parses and validates JSON that another process sends. */

import { PipesRequestError } from "./_errors.js";
import { PIPES_VERSION, PIPES_VERSION_FIELD } from "./_protocol.js";
import { excerpt, jsonType, MAX_SHOWN, quoted, thousands } from "./_text.js";

const SAME_VERSION_FIX =
  "Fix: Install the same version of dagster-pipes for Dagster and in the function's package.json, and deploy the " +
  "function again.";
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MARKS = new Set([..."[{,:"].map((mark) => mark.charCodeAt(0)));

export type JsonObject = Record<string, unknown>;

/** The expected type of a JSON value. */
export type JsonType =
  | { kind: "string" | "integer" | "boolean" | "null" | "any" }
  | { kind: "array"; of: JsonType }
  | { kind: "map"; of: JsonType }
  | { kind: "object"; fields: Record<string, JsonType>; required: readonly string[] }
  | { kind: "either"; types: readonly JsonType[] };

const EXPECTED = {
  string: "a string",
  integer: "a whole number",
  boolean: "a boolean",
  null: "null",
  any: "anything",
  array: "an array",
  map: "an object",
  object: "an object",
};

/**
 * Parse a JSON object in UTF-8.
 *
 * @param data The JSON.
 * @param where What it is, for the error text.
 * @param maxMarks The limit of `hasMoreMarks`.
 */
export function parseJsonObject(data: Uint8Array, where: string, maxMarks: number): JsonObject {
  const value = parseJson(data, where, maxMarks);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new PipesRequestError(`Expected ${where} to be a JSON object, got ${jsonType(value)}.`);
  }
  return value as JsonObject;
}

function parseJson(data: Uint8Array, where: string, maxMarks: number): unknown {
  try {
    if (hasMoreMarks(data, maxMarks)) {
      throw new Error(`it has more than ${thousands(maxMarks)} opening brackets, commas, colons and strings`);
    }
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data));
  } catch (error) {
    const reason = (error as Error).message;
    throw new PipesRequestError(`Expected ${where} to be a JSON object in UTF-8, but it cannot be parsed: ${reason}`, {
      cause: error,
    });
  }
}

/** Whether JSON has more opening brackets, commas, colons and strings than that. A long string counts once. */
export function hasMoreMarks(data: Uint8Array, maxMarks: number): boolean {
  let marks = 0;
  for (let index = 0; index < data.length; index++) {
    const byte = data[index] as number;
    if (byte === QUOTE) {
      index = endOfString(data, index);
      marks++;
    } else if (MARKS.has(byte)) marks++;
    if (marks > maxMarks) return true;
  }
  return false;
}

function endOfString(data: Uint8Array, start: number): number {
  for (let index = start + 1; index < data.length; index++) {
    if (data[index] === BACKSLASH) index++;
    else if (data[index] === QUOTE) return index;
  }
  return data.length;
}

/** Refuse params of another version of the Pipes protocol. Params of today's version do not name it. */
export function checkPipesVersion(params: JsonObject, where: string): void {
  const version = Object.hasOwn(params, PIPES_VERSION_FIELD) ? params[PIPES_VERSION_FIELD] : PIPES_VERSION;
  if (version !== PIPES_VERSION) {
    throw new PipesRequestError(
      `Expected version '${PIPES_VERSION}' of the Pipes protocol in ${where}, got ${excerpt(version)}.\n` +
        SAME_VERSION_FIX,
    );
  }
}

/** Return a param that must be a string and not empty. */
export function getParam(params: JsonObject, name: string, where: string): string {
  const value = Object.hasOwn(params, name) ? params[name] : undefined;
  if (typeof value !== "string" || !value) {
    throw new PipesRequestError(
      `Expected '${name}' in the ${where} params to be a string that is not empty, got ${jsonType(value)}.`,
    );
  }
  return value;
}

/**
 * Refuse a JSON value of a wrong type. Keys that the type does not declare may be a later version's and pass.
 *
 * @param value The value.
 * @param type Its type.
 * @param where What the value is a part of, for the error text.
 * @param path The value's place in it, such as `partition_time_window.start`.
 */
export function validateJson(value: unknown, type: JsonType, where: string, path = ""): void {
  const members = type.kind === "either" ? type.types : [type];
  const member = members.find((each) => mayBe(value, each));
  if (!member) {
    const expected = members.map((each) => EXPECTED[each.kind as keyof typeof EXPECTED]).join(" or ");
    const subject = path ? `${quoted(path)} in ${where}` : where;
    throw new PipesRequestError(`Expected ${subject} to be ${expected}, got ${jsonType(value)}.`);
  }
  for (const [part, partType, partPath] of parts(value, member, path)) validateJson(part, partType, where, partPath);
}

function mayBe(value: unknown, type: JsonType): boolean {
  switch (type.kind) {
    case "any":
      return true;
    case "null":
      return value === null;
    case "integer":
      return Number.isInteger(value);
    case "array":
      return Array.isArray(value);
    case "map":
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    default:
      return typeof value === type.kind;
  }
}

function* parts(value: unknown, type: JsonType, path: string): Generator<[unknown, JsonType, string]> {
  if (type.kind === "object") {
    for (const [name, part] of Object.entries(type.fields)) {
      const exists = Object.hasOwn(value as object, name);
      if (exists || type.required.includes(name)) {
        yield [exists ? (value as JsonObject)[name] : undefined, part, path ? `${path}.${name}` : name];
      }
    }
  } else if (type.kind === "map") {
    for (const [key, part] of Object.entries(value as object)) {
      yield [part, type.of, `${path}[${key.slice(0, MAX_SHOWN)}]`];
    }
  } else if (type.kind === "array") {
    for (const [index, part] of (value as unknown[]).entries()) yield [part, type.of, `${path}[${index}]`];
  }
}
