/** What a function knows of its step, and how it reports to Dagster. */

import type { Channel } from "./_channel.js";
import type {
  PipesContextData,
  PipesDataProvenance,
  PipesPartitionKeyRange,
  PipesTimeWindow,
} from "./_context_data.js";
import { DagsterPipesError } from "./_errors.js";
import { type Trace, traceparentOf } from "./_execution.js";
import { PipesLogger } from "./_log.js";
import {
  assertOneOf,
  assertOptionalString,
  assertType,
  normalizedMetadata,
  type PipesMetadata,
} from "./_metadata_values.js";
import { PARTITION_KEY, VERSION } from "./_protocol.js";
import { printLog } from "./_structured_logs.js";
import { excerpt, quoted } from "./_text.js";

/** What `reportAssetMaterialization` takes. */
export interface PipesMaterialization {
  metadata?: PipesMetadata | null;
  /** The data version. Default: Dagster's own. */
  dataVersion?: string | null;
  /** The asset, such as "sales/orders". Default: the only one of the step. */
  assetKey?: string | null;
}

/** What `reportAssetCheck` takes. */
export interface PipesAssetCheck {
  checkName: string;
  passed: boolean;
  /** Default: "ERROR". */
  severity?: "WARN" | "ERROR";
  metadata?: PipesMetadata | null;
  /** The asset, such as "sales/orders". Default: the only one of the step. */
  assetKey?: string | null;
}

/**
 * The Pipes context of one call.
 *
 * The methods that report return a promise. It waits while the buffer of messages is full, and it is rejected if Dagster
 * would not accept the report, if Dagster has terminated the run, or shortly before the function's timeout. Messages
 * arrive in the order of the calls.
 */
export class PipesContext {
  /** Sends log lines to Dagster. */
  readonly log: PipesLogger;
  /**
   * Aborted when the function should stop: Dagster has terminated the run (`PipesCancelledError`), or the function is
   * close to its timeout (`PipesDeadlineExceededError`). Pass it to `fetch` and to timers.
   */
  readonly signal: AbortSignal;
  /**
   * The `traceparent` header for calls that this one makes, so that they join its trace. Undefined if the request has
   * no trace.
   */
  readonly traceparent: string | undefined;
  readonly #data: PipesContextData;
  readonly #channel: Channel;
  readonly #takesPartitions: boolean;
  readonly #materialized = new Set<string>();
  readonly #partitions = new Map<string, Set<string>>();

  /** @internal */
  constructor(
    data: PipesContextData,
    channel: Channel,
    options: { takesPartitions: boolean; trace: Trace | undefined },
  ) {
    this.#data = data;
    this.#channel = channel;
    this.#takesPartitions = options.takesPartitions;
    this.signal = channel.interruption;
    this.traceparent = options.trace && traceparentOf(options.trace);
    this.log = new PipesLogger((level, message) => {
      printLog(level, message);
      return channel.write("log", { message, level });
    });
  }

  /** Whether Dagster has terminated the run, or the time is up. */
  get cancelled(): boolean {
    return this.signal.aborted;
  }

  /** Whether the step targets assets. */
  get isAssetStep(): boolean {
    return this.#data.asset_keys !== null;
  }

  /** The asset of the step. It throws if there are none or several. */
  get assetKey(): string {
    return this.#single(this.#assetKeysFor("asset_key"), "asset_key");
  }

  /** The assets of the step. It throws if there are none. */
  get assetKeys(): readonly string[] {
    return this.#assetKeysFor("asset_keys");
  }

  /** The provenance of the step's only asset. It throws if there are none or several. */
  get provenance(): PipesDataProvenance | null {
    const all = this.#assetProperty(this.#data.provenance_by_asset_key, "provenance");
    this.#single(this.#assetKeysFor("provenance"), "provenance");
    return Object.values(all)[0] ?? null;
  }

  /** The provenance of each asset. It throws if there are none. */
  get provenanceByAssetKey(): Readonly<Record<string, PipesDataProvenance | null>> {
    return this.#assetProperty(this.#data.provenance_by_asset_key, "provenance_by_asset_key");
  }

  /** The code version of the step's only asset. It throws if there are none or several. */
  get codeVersion(): string | null {
    const all = this.#assetProperty(this.#data.code_version_by_asset_key, "code_version");
    this.#single(this.#assetKeysFor("code_version"), "code_version");
    return Object.values(all)[0] ?? null;
  }

  /** The code version of each asset. It throws if there are none. */
  get codeVersionByAssetKey(): Readonly<Record<string, string | null>> {
    return this.#assetProperty(this.#data.code_version_by_asset_key, "code_version_by_asset_key");
  }

  /** Whether the step has one or more partitions. */
  get isPartitionStep(): boolean {
    return this.#data.partition_key_range !== null;
  }

  /** The partition of the step. It throws if there are none or several. */
  get partitionKey(): string {
    return this.#partitionProperty(this.#data.partition_key, "partition_key");
  }

  /** The first and the last partition of the step. It throws if there are none. */
  get partitionKeyRange(): PipesPartitionKeyRange {
    return this.#partitionProperty(this.#data.partition_key_range, "partition_key_range");
  }

  /** The time window of the partitions, or null if they have none. It throws if there are no partitions. */
  get partitionTimeWindow(): PipesTimeWindow | null {
    this.#partitionProperty(this.#data.partition_key_range, "partition_time_window");
    return this.#data.partition_time_window;
  }

  /** The id of the run. */
  get runId(): string {
    return this.#data.run_id;
  }

  /** The name of the job, or null if the run has none. */
  get jobName(): string | null {
    return this.#data.job_name;
  }

  /** How often the step was retried. */
  get retryNumber(): number {
    return this.#data.retry_number;
  }

  /** All extras that the asset or op passes. */
  get extras(): Readonly<Record<string, unknown>> {
    return this.#data.extras;
  }

  /** Return an extra. It throws if the asset or op does not pass it. */
  getExtra(key: string): unknown {
    if (!Object.hasOwn(this.extras, key)) {
      throw new DagsterPipesError(`Extra \`${key}\` is undefined. Extras must be provided by user.`);
    }
    return this.extras[key];
  }

  /** Report that an asset has been materialized. An asset can be reported once. */
  async reportAssetMaterialization(materialization: PipesMaterialization = {}): Promise<void> {
    const method = "reportAssetMaterialization";
    const assetKey = this.#resolved(materialization.assetKey, method);
    if (this.#materialized.has(assetKey)) {
      throw new DagsterPipesError(
        `Calling \`${method}\` with asset key \`${assetKey}\` is undefined.` +
          " Asset has already been materialized, so no additional data can be reported for it.",
      );
    }
    const metadata = normalizedMetadata(materialization.metadata, method);
    assertOptionalString(materialization.dataVersion, method, "dataVersion");
    const dataVersion = materialization.dataVersion ?? null;
    const params = { asset_key: assetKey, data_version: dataVersion, metadata };
    const written = this.#channel.write("report_asset_materialization", params);
    this.#materialized.add(assetKey);
    await written;
  }

  /** Report the result of an asset check. */
  async reportAssetCheck(check: PipesAssetCheck): Promise<void> {
    const method = "reportAssetCheck";
    const { checkName, passed, severity = "ERROR" } = check;
    const assetKey = this.#resolved(check.assetKey, method);
    assertType(checkName, "string", method, "checkName");
    assertType(passed, "boolean", method, "passed");
    assertOneOf(severity, ["WARN", "ERROR"], method, "severity");
    const metadata = normalizedMetadata(check.metadata, method);
    const params = { asset_key: assetKey, check_name: checkName, passed, metadata, severity };
    await this.#channel.write("report_asset_check", params);
  }

  /** Send a value that JSON can represent. In Dagster, `get_custom_messages` returns it. */
  async reportCustomMessage(payload: unknown): Promise<void> {
    await this.#channel.write("report_custom_message", { payload: payload === undefined ? null : payload });
  }

  /**
   * Report that one partition of an asset has been materialized, for a function that computes a range in one call.
   *
   * Report each partition after its data is stored. The step fails if a partition of its range is missing when the
   * function has succeeded. In a call for one partition, this does what `reportAssetMaterialization` does.
   *
   * @param partition The key of the partition, such as "2024-01-03" or with two dimensions "red|2024-01-03".
   * @param materialization As in `reportAssetMaterialization`.
   */
  async reportPartitionMaterialization(partition: string, materialization: PipesMaterialization = {}): Promise<void> {
    const method = "reportPartitionMaterialization";
    assertType(partition, "string", method, "partition");
    if (!this.isPartitionStep) {
      throw new DagsterPipesError(
        `Expected \`${method}\` in a step with partitions, got a step without.\n` +
          "Fix: Use `pipes.reportAssetMaterialization`. Dagster's own parts do not tell a function its range: call " +
          "it with `PipesCloudFunctionClient.run`.",
      );
    }
    const { start, end } = this.partitionKeyRange;
    if (start !== end) return this.#reportPartition(partition, materialization, method);
    if (partition === start) return this.reportAssetMaterialization(materialization);
    throw new DagsterPipesError(`Expected the partition of this call, ${quoted(start)}, got ${excerpt(partition)}.`);
  }

  async #reportPartition(partition: string, materialization: PipesMaterialization, method: string): Promise<void> {
    const assetKey = this.#resolved(materialization.assetKey, method);
    const metadata = normalizedMetadata(materialization.metadata, method);
    assertOptionalString(materialization.dataVersion, method, "dataVersion");
    if (!this.#takesPartitions) {
      throw new DagsterPipesError(
        `Expected a message reader that takes \`${method}\` for a range, got another one.\n` +
          `Fix: Install dagster-gcf-pipes ${VERSION} or later where Dagster runs, and call the function with ` +
          "`PipesCloudFunctionClient.run`.",
      );
    }
    const reported = this.#partitions.get(assetKey);
    if (this.#materialized.has(assetKey) && !reported) {
      throw new DagsterPipesError(
        `Expected \`${method}\` or \`pipes.reportAssetMaterialization\` for the asset ${quoted(assetKey)}, got both.`,
      );
    }
    if (reported?.has(partition)) {
      throw new DagsterPipesError(`Expected one report of each partition, got ${excerpt(partition)} twice.`);
    }
    const report = { asset_key: assetKey, partition, metadata, data_version: materialization.dataVersion ?? null };
    const written = this.#channel.write("report_custom_message", { payload: { [PARTITION_KEY]: report } });
    this.#partitions.set(assetKey, (reported ?? new Set()).add(partition));
    this.#materialized.add(assetKey);
    await written;
  }

  #resolved(assetKey: string | null | undefined, method: string): string {
    assertOptionalString(assetKey, method, "assetKey");
    const defined = this.#data.asset_keys ?? [];
    if (defined.length && assetKey && !defined.includes(assetKey)) {
      const names = defined.map(quoted).join(", ");
      throw new DagsterPipesError(`Invalid asset key. Expected one of \`[${names}]\`, got \`${assetKey}\`.`);
    }
    const resolved = assetKey || (defined.length === 1 ? defined[0] : undefined);
    if (resolved) return resolved;
    const problem = defined.length ? "targets multiple assets" : "does not target a specific asset";
    throw new DagsterPipesError(
      `Calling \`${method}\` without passing an asset key is undefined. Current step ${problem}.`,
    );
  }

  #assetKeysFor(name: string): readonly string[] {
    return this.#assetProperty(this.#data.asset_keys, name);
  }

  #single(assetKeys: readonly string[], name: string): string {
    if (assetKeys.length !== 1) {
      throw new DagsterPipesError(`\`${name}\` is undefined. Current step targets multiple assets.`);
    }
    return assetKeys[0] as string;
  }

  #assetProperty<T>(value: T | null, name: string): T {
    return defined(value, `\`${name}\` is undefined. Current step does not target an asset.`);
  }

  #partitionProperty<T>(value: T | null, name: string): T {
    return defined(value, `\`${name}\` is undefined. Current step does not target any partitions.`);
  }
}

function defined<T>(value: T | null, description: string): T {
  if (value === null) throw new DagsterPipesError(`Missing required property: ${description}`);
  return value;
}
