/** The Pipes context as Dagster sends it. */

import { type JsonObject, type JsonType, validateJson } from "./_json_validation.js";

/** Provenance information for an asset. */
export interface PipesDataProvenance {
  code_version: string;
  input_data_versions: Record<string, string>;
  is_user_provided: boolean;
}

/** A range of partition keys. */
export interface PipesPartitionKeyRange {
  start: string;
  end: string;
}

/** A span of time between two timestamps. */
export interface PipesTimeWindow {
  start: string;
  end: string;
}

export interface PipesContextData {
  asset_keys: string[] | null;
  code_version_by_asset_key: Record<string, string | null> | null;
  provenance_by_asset_key: Record<string, PipesDataProvenance | null> | null;
  partition_key: string | null;
  partition_key_range: PipesPartitionKeyRange | null;
  partition_time_window: PipesTimeWindow | null;
  run_id: string;
  job_name: string | null;
  retry_number: number;
  extras: Record<string, unknown>;
}

const STRING: JsonType = { kind: "string" };
const OPTIONAL_STRING = optional(STRING);
const SPAN: JsonType = { kind: "object", fields: { start: STRING, end: STRING }, required: [] };
const PROVENANCE: JsonType = {
  kind: "object",
  fields: {
    code_version: STRING,
    input_data_versions: { kind: "map", of: STRING },
    is_user_provided: { kind: "boolean" },
  },
  required: [],
};

const FIELDS = {
  asset_keys: optional({ kind: "array", of: STRING }),
  code_version_by_asset_key: optional({ kind: "map", of: OPTIONAL_STRING }),
  provenance_by_asset_key: optional({ kind: "map", of: optional(PROVENANCE) }),
  partition_key: OPTIONAL_STRING,
  partition_key_range: optional(SPAN),
  partition_time_window: optional(SPAN),
  run_id: STRING,
  job_name: OPTIONAL_STRING,
  retry_number: { kind: "integer" },
  extras: { kind: "map", of: { kind: "any" } },
} satisfies Record<keyof PipesContextData, JsonType>;

/** The other fields may be missing, as in the JSON Schema of Pipes, and become null. */
const CONTEXT: JsonType = { kind: "object", fields: FIELDS, required: ["run_id", "retry_number", "extras"] };

/** Return valid context data with null for each missing field. */
export function validatedContext(data: unknown): PipesContextData {
  const fields = typeof data === "object" && data !== null && !Array.isArray(data) ? (data as JsonObject) : undefined;
  const value = fields && fields.extras === null ? { ...fields, extras: {} } : data;
  validateJson(value, CONTEXT, "the Pipes context");
  const missing = Object.fromEntries(Object.keys(FIELDS).map((name) => [name, null]));
  return { ...missing, ...(value as JsonObject) } as unknown as PipesContextData;
}

function optional(type: JsonType): JsonType {
  return { kind: "either", types: [type, { kind: "null" }] };
}
