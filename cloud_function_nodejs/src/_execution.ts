/** Facts about the current execution, from the request and from the platform. */

import { randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

import { readMetadata } from "./_metadata.js";
import { Container } from "./_usage.js";

/** Milliseconds to wait for each response of the metadata server. */
const METADATA_TIMEOUT_MS = 1000;
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const CLOUD_TRACE = /^([0-9a-fA-F]{32})(?:\/([0-9]{0,20}))?(?:;o=([0-9]?))?$/;

/** The position of a request in a distributed trace. */
export interface Trace {
  traceId: string;
  spanId: string;
  sampled: boolean;
}

/** The Cloud Run instance on which a process runs. All are undefined elsewhere. */
export interface Platform {
  service?: string | undefined;
  revision?: string | undefined;
  projectId?: string | undefined;
  instanceId?: string | undefined;
  region?: string | undefined;
  memoryLimitBytes?: number | undefined;
  cpus?: number | undefined;
}

/** One request that this process serves. */
export interface Execution {
  platform: Platform;
  trace: Trace | undefined;
  executionId: string | undefined;
  coldStart: boolean;
}

/** Ask the environment and, on Cloud Run, the metadata server. */
export async function loadPlatform(): Promise<Platform> {
  const { K_SERVICE: service, K_REVISION: revision, GOOGLE_CLOUD_PROJECT: project } = process.env;
  if (!service) return {};
  const paths = ["instance/id", "project/project-id", "instance/region"];
  const [instanceId, projectId, region] = await Promise.all(
    paths.map((path) => readMetadata(path, METADATA_TIMEOUT_MS)),
  );
  const container = new Container();
  return {
    service,
    revision: revision || undefined,
    projectId: projectId ?? (project || undefined),
    instanceId,
    region: region?.split("/").at(-1) || undefined, // projects/NUMBER/regions/REGION
    memoryLimitBytes: container.memoryLimit,
    cpus: container.cpus,
  };
}

/** Return the known facts, for `opened`. */
export function openedFacts({ platform, trace, executionId, coldStart }: Execution): Record<string, unknown> {
  return {
    project_id: platform.projectId,
    service: platform.service,
    revision: platform.revision,
    instance_id: platform.instanceId,
    region: platform.region,
    memory_limit_bytes: platform.memoryLimitBytes,
    cpus: platform.cpus,
    execution_id: executionId,
    trace_id: trace?.traceId,
    cold_start: coldStart,
  };
}

/** Return the id that functions-framework gave the execution. */
export function readExecutionId(id: unknown): string | undefined {
  return typeof id === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(id) ? id : undefined;
}

/**
 * Read `traceparent`, or else `X-Cloud-Trace-Context`. An invalid header counts as missing.
 *
 * Sources: https://www.w3.org/TR/trace-context/, https://cloud.google.com/trace/docs/trace-context
 */
export function readTrace(headers: IncomingHttpHeaders): Trace | undefined {
  return parseTraceparent(text(headers.traceparent)) ?? parseCloudTrace(text(headers["x-cloud-trace-context"]));
}

/** Return the value of a `traceparent` header that continues a trace. */
export function traceparentOf({ traceId, spanId, sampled }: Trace): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

function parseTraceparent(value: string): Trace | undefined {
  const [, version, traceId = "", spanId = "", flags = "", rest] = TRACEPARENT.exec(value) ?? [];
  const isValid = version && version !== "ff" && !(version === "00" && rest) && !isZero(traceId) && !isZero(spanId);
  return isValid ? { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 } : undefined;
}

function parseCloudTrace(value: string): Trace | undefined {
  const [, traceId = "", span, sampled] = CLOUD_TRACE.exec(value) ?? [];
  const number = BigInt(span || 0);
  if (isZero(traceId) || number >= 1n << 64n) return undefined;
  const spanId = number ? number.toString(16).padStart(16, "0") : randomBytes(8).toString("hex");
  return { traceId: traceId.toLowerCase(), spanId, sampled: sampled === "1" };
}

function isZero(digits: string): boolean {
  return /^0*$/.test(digits);
}

function text(header: string | string[] | undefined): string {
  return typeof header === "string" ? header : "";
}
