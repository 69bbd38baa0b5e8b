/** What an entry point keeps for all of its requests. */

import type { Request } from "@google-cloud/functions-framework";

import { AllowedLocations } from "./_allowed_locations.js";
import type { ChannelOptions } from "./_channel.js";
import { type Execution, loadPlatform, type Platform, readExecutionId, readTrace } from "./_execution.js";
import { logOwn } from "./_own_logs.js";
import { BUCKETS_VARIABLE, KEY_PREFIX_VARIABLE } from "./_protocol.js";
import { Storage } from "./_storage.js";
import { UsageMeter } from "./_usage.js";

/** The state of an entry point. All state of a request is in its session. */
export class Process {
  readonly allowed = AllowedLocations.fromEnvironment();
  readonly storage = new Storage();
  readonly meter = new UsageMeter();
  readonly #platform: Promise<Platform>;
  #isCold = true;

  constructor(readonly options: ChannelOptions) {
    this.#platform = loadPlatform();
    if (process.env.K_SERVICE) this.storage.warmUp();
    if (!this.allowed.buckets) {
      logOwn(
        "WARNING",
        `[pipes] ${BUCKETS_VARIABLE} is not set: calls may name any bucket that this function can reach.\nFix: Set it ` +
          `to the bucket of your Dagster resource, and ${KEY_PREFIX_VARIABLE} to its key prefix.`,
      );
    }
  }

  /** Return facts about a new request. */
  async describeRequest(req: Request): Promise<Execution> {
    const coldStart = this.#isCold;
    this.#isCold = false;
    const executionId = readExecutionId(req.executionId ?? req.headers["function-execution-id"]);
    return { platform: await this.#platform, trace: readTrace(req.headers), executionId, coldStart };
  }
}
