/**
 * Structured log lines, so that Cloud Logging finds a line by trace, execution, Dagster run, job, asset and partition.
 *
 * On Cloud Run, `pipes.log` and the runtime's own lines are one JSON object per line on stderr. Elsewhere only the
 * runtime's own lines are printed, as text. `console` does not change.
 *
 * Source: https://cloud.google.com/logging/docs/structured-logging (the special fields)
 */

import type { PipesContextData } from "./_context_data.js";
import { currentRequest } from "./_current_request.js";
import type { Execution } from "./_execution.js";
import { notForwarded } from "./_stdio.js";

const LABELS_FIELD = "logging.googleapis.com/labels";
const TRACE_FIELD = "logging.googleapis.com/trace";
/** Characters of a label. It is on every line, and a step may have hundreds of assets. */
const MAX_LABEL = 1024;

/** The fields by which the lines of one request are found. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Print a line with the labels of the current request. */
export function printEntry(severity: string, message: string): void {
  const fields = currentRequest()?.logFields;
  const text = process.env.K_SERVICE ? JSON.stringify({ severity, message, ...fields }) : message;
  notForwarded(() => process.stderr.write(`${text}\n`));
}

/** Print a line of `pipes.log`, which Dagster has already. Outside Cloud Run nobody collects it. */
export function printLog(severity: string, message: string): void {
  if (process.env.K_SERVICE) printEntry(severity, message);
}

/** Return the fields for the lines of a request, with labels of the run once its context is known. */
export function logFields(execution: Execution, data?: PipesContextData): LogFields {
  const { trace, platform, executionId } = execution;
  const name = trace && platform.projectId ? `projects/${platform.projectId}/traces/${trace.traceId}` : undefined;
  const labels = { ...(executionId && { execution_id: executionId }), ...(data && runLabels(data)) };
  return { ...(name && { [TRACE_FIELD]: name }), [LABELS_FIELD]: labels };
}

function runLabels(data: PipesContextData): Record<string, string> {
  const labels: Record<string, string> = { dagster_run_id: data.run_id };
  if (data.job_name) labels.dagster_job = data.job_name;
  if (data.asset_keys) labels.dagster_asset = data.asset_keys.join(",");
  if (data.partition_key_range) {
    const { start, end } = data.partition_key_range;
    labels.dagster_partition = start === end ? start : `${start}...${end}`;
  }
  return Object.fromEntries(Object.entries(labels).map(([label, value]) => [label, value.slice(0, MAX_LABEL)]));
}
