// The function that the conformance test of the protocol drives: `dagster-gcf-pipes conformance --url ...`.
import { setTimeout as sleep } from "node:timers/promises";

import { pipesFunction } from "gcf-pipes";

const LINEAGE = { asset_key: "another/asset", column_name: "id" };

// one value of each type of Pipes
const METADATA = {
  inferred: 1,
  text: { rawValue: "a text", type: "text" },
  url: { rawValue: "https://example.com/", type: "url" },
  path: { rawValue: "/a/path", type: "path" },
  notebook: { rawValue: "/a/notebook.ipynb", type: "notebook" },
  json: { rawValue: { a: [1, null, "b"] }, type: "json" },
  md: { rawValue: "**bold**", type: "md" },
  float: { rawValue: 1.5, type: "float" },
  int: { rawValue: 3, type: "int" },
  bool: { rawValue: true, type: "bool" },
  dagster_run: { rawValue: "00000000-0000-0000-0000-000000000000", type: "dagster_run" },
  asset: { rawValue: "another/asset", type: "asset" },
  null: { rawValue: null, type: "null" },
  table: { rawValue: { records: [{ id: 1 }], schema: [{ name: "id", type: "int" }] }, type: "table" },
  table_schema: { rawValue: { columns: [{ name: "id", type: "int" }] }, type: "table_schema" },
  table_column_lineage: { rawValue: { deps_by_column: { id: [LINEAGE] } }, type: "table_column_lineage" },
  timestamp: { rawValue: 1_700_000_000.5, type: "timestamp" },
};

async function report(_event, pipes) {
  for (const level of ["debug", "info", "warning", "error", "critical"]) {
    pipes.log[level](`conformance: ${level.toUpperCase()}`);
  }
  const [assetKey] = pipes.assetKeys;
  await pipes.reportAssetMaterialization({ assetKey, metadata: METADATA, dataVersion: "v1" });
  await pipes.reportAssetCheck({ assetKey, checkName: "conformance", passed: true, severity: "WARN" });
  await pipes.reportCustomMessage({ conformance: "custom" });
  return { task: "report" };
}

async function echo(event, pipes) {
  const { DAGSTER_PIPES_CONTEXT: _context, DAGSTER_PIPES_MESSAGES: _messages, ...rest } = event;
  const answer = {
    event: rest,
    extras: pipes.extras,
    run_id: pipes.runId,
    job_name: pipes.jobName,
    retry_number: pipes.retryNumber,
    asset_keys: pipes.isAssetStep ? pipes.assetKeys : null,
    partition_key: orNull(() => pipes.partitionKey),
    partition_key_range: pipes.isPartitionStep ? pipes.partitionKeyRange : null,
    partition_time_window: pipes.isPartitionStep ? pipes.partitionTimeWindow : null,
    provenance_by_asset_key: orNull(() => pipes.provenanceByAssetKey),
    code_version_by_asset_key: orNull(() => pipes.codeVersionByAssetKey),
  };
  console.log("conformance: printed");
  await pipes.reportCustomMessage(answer);
  return answer;
}

function orNull(get) {
  try {
    return get();
  } catch {
    return null;
  }
}

function fail(_event, pipes) {
  pipes.log.info("conformance: before");
  throw new Error("conformance failure", { cause: new Error("conformance cause") });
}

async function sleepWell(event, pipes) {
  await sleep(event.seconds * 1000, undefined, { signal: pipes.signal });
  pipes.log.info("conformance: slept");
  return { task: "sleep" };
}

async function burst(event, pipes) {
  for (let i = 0; i < event.lines; i++) await pipes.log.info(`${i} `.padEnd(event.size, "x"));
  return { task: "burst" };
}

function status(event, pipes) {
  pipes.log.info("conformance: status");
  return new Response(event.body, { status: event.status });
}

const TASKS = { report, echo, fail, sleep: sleepWell, burst, status };

export const main = pipesFunction((req, pipes) => TASKS[req.body.task](req.body, pipes));
