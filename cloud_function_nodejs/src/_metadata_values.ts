/** Metadata of materializations and checks, and the checks that `dagster_pipes` makes of params. */

import { DagsterPipesError } from "./_errors.js";

export const METADATA_TYPES = [
  "__infer__",
  "text",
  "url",
  "path",
  "notebook",
  "json",
  "md",
  "float",
  "int",
  "bool",
  "dagster_run",
  "asset",
  "null",
  "table",
  "table_schema",
  "table_column_lineage",
  "timestamp",
] as const;

export type PipesMetadataType = (typeof METADATA_TYPES)[number];

/** A value whose type Dagster infers. For an object, name the type: `{ rawValue: {...}, type: "json" }`. */
export type PipesMetadataRawValue = number | string | boolean | null | readonly unknown[];

/** A value with its type. JSON has one type of numbers, so `{ rawValue: 3, type: "float" }` is not `3`. */
export interface PipesMetadataValue {
  rawValue: unknown;
  type: PipesMetadataType;
}

export type PipesMetadata = Readonly<Record<string, PipesMetadataRawValue | PipesMetadataValue>>;

/** Return metadata as Pipes sends it, or null if there is none. */
export function normalizedMetadata(metadata: PipesMetadata | null | undefined, method: string) {
  if (metadata === undefined || metadata === null) return null;
  if (!isObject(metadata)) {
    throw new DagsterPipesError(
      `Invalid type for parameter \`metadata\` of \`${method}\`. Expected an object, got \`${typeName(metadata)}\`.`,
    );
  }
  const entries = Object.entries(metadata).map(([key, value]) => [key, normalized(key, value, method)]);
  return entries.length ? Object.fromEntries(entries) : null;
}

function normalized(key: string, value: unknown, method: string) {
  if (!isObject(value)) {
    if (value !== undefined) return { raw_value: value, type: "__infer__" };
    throw new DagsterPipesError(`Invalid value for parameter \`metadata.${key}\` of \`${method}\`. Got \`undefined\`.`);
  }
  const keys = Object.keys(value).sort().join();
  const { rawValue, type } = value as Partial<PipesMetadataValue>;
  if (keys !== "rawValue,type" || rawValue === undefined) {
    throw new DagsterPipesError(
      `Invalid type for parameter \`metadata\` of \`${method}\`. Expected an object with` +
        " values that are either raw metadata values or objects" +
        ` with schema \`{ rawValue: ..., type: ... }\`. Got an object with the keys \`${keys}\` for \`${key}\`.`,
    );
  }
  assertOneOf(type, METADATA_TYPES, method, `metadata.${key}.type`);
  return { raw_value: rawValue, type };
}

/** Refuse a param of another type than expected. */
export function assertType(value: unknown, expected: "string" | "boolean", method: string, param: string): void {
  if (typeof value !== expected) {
    throw new DagsterPipesError(
      `Invalid type for parameter \`${param}\` of \`${method}\`. Expected \`${expected}\`, got \`${typeName(value)}\`.`,
    );
  }
}

/** Refuse a param that is neither missing nor a string. */
export function assertOptionalString(value: unknown, method: string, param: string): void {
  if (value !== undefined && value !== null) assertType(value, "string", method, param);
}

/** Refuse a param that is none of the expected values. */
export function assertOneOf(value: unknown, expected: readonly string[], method: string, param: string): void {
  if (!expected.includes(value as string)) {
    const names = expected.map((each) => `'${each}'`).join(", ");
    throw new DagsterPipesError(
      `Invalid value for parameter \`${param}\` of \`${method}\`. Expected one of \`[${names}]\`, got \`${value}\`.`,
    );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
