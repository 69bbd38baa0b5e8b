/**
 * The wire protocol between Dagster and the function, with the names and limits of the Python half.
 *
 * docs/reference/protocol.md describes it.
 */

/** The version of this package. A test compares it with package.json. */
export const VERSION = "0.1.0";

/** The version of the protocol. */
export const PROTOCOL = 1;

/** The optional parts of the protocol that this half has. */
export const CAPABILITIES = ["forward_logs", "shared_cancel"] as const;

export const CONTEXT_KEY = "DAGSTER_PIPES_CONTEXT";
export const MESSAGES_KEY = "DAGSTER_PIPES_MESSAGES";

/** The version of the Pipes protocol itself, which each message carries. */
export const PIPES_VERSION = "0.1";
export const PIPES_VERSION_FIELD = "__dagster_pipes_version";

/** The reserved key in the payload of a custom message that materializes one partition of an asset. */
export const PARTITION_KEY = "gcf_pipes/partition_materialization";

/**
 * The names that buckets may have.
 *
 * Source: https://cloud.google.com/storage/docs/buckets#naming
 */
export const BUCKET_NAME = /^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$/;

export const BUCKETS_VARIABLE = "GCF_PIPES_BUCKETS";
export const KEY_PREFIX_VARIABLE = "GCF_PIPES_KEY_PREFIX";

export const CHUNK_COUNT_HEADER = "Dagster-Pipes-Chunk-Count";
export const ERROR_HEADER = "Dagster-Pipes-Error";
export const VERSION_HEADER = "Dagster-Pipes-Version";
export const PROTOCOL_HEADER = "Dagster-Pipes-Protocol";
export const TIMEOUT_HEADER = "Dagster-Pipes-Timeout";
export const STORAGE_HEADER = "Dagster-Pipes-Storage";

export const EMULATOR = "emulator";
export const CLOUD = "cloud";

/** The content of a chunk that only shows that the function is alive. */
export const HEARTBEAT = Buffer.from("\n");

/** Seconds without a chunk after which the channel writes a heartbeat. */
export const HEARTBEAT_INTERVAL = 10;

/** Name of the exception in `closed` if the function's own response is not 2xx. */
export const RESPONSE_STATUS_EXCEPTION = "PipesResponseStatusError";

/** The largest chunk that is read, and the largest message that is written, in bytes. */
export const MAX_CHUNK_BYTES = 64 * 1024 * 1024;
/** Levels of a message's JSON. */
export const MAX_JSON_DEPTH = 100;
/** Exceptions in `closed`: the one with which the function failed, and those nearest to it. */
export const MAX_EXCEPTION_CHAIN = 20;
/** Characters of each exception's message and of its stack in `closed`. */
export const MAX_EXCEPTION_CHARACTERS = 32 * 1024;
/** The largest response body that `closed` carries, in bytes. */
export const MAX_CLOSED_RESPONSE_BYTES = 32 * 1024;
/** The largest HTTP request that the platform accepts, in bytes. */
export const MAX_REQUEST_BYTES = 32 * 1024 * 1024;
/** The largest decompressed messages params, in bytes. */
export const MAX_MESSAGES_PARAMS_BYTES = 8 * 1024;
/** The largest decompressed context params of a request, in bytes. A larger context goes through the bucket. */
export const MAX_INLINE_CONTEXT_BYTES = 2 * 1024 * 1024;
/** The largest context that is read from the bucket, in bytes. */
export const MAX_CONTEXT_BYTES = 32 * 1024 * 1024;
/** Opening brackets, commas, colons and strings of a context, together. */
export const MAX_CONTEXT_MARKS = 250_000;
/** Opening brackets, commas, colons and strings of a request body, together. */
export const MAX_EVENT_MARKS = 1_000_000;

/** The prefix of one session's objects in the bucket. */
export class SessionPrefix {
  /**
   * @param bucket The name of the bucket.
   * @param path The prefix without a trailing slash. Empty means the bucket's root.
   */
  constructor(
    readonly bucket: string,
    readonly path: string,
  ) {}

  /** The name of chunk `index`. The first chunk is 1. */
  chunkKey(index: number): string {
    return this.#key(`${index}.json`);
  }

  /** The name of the cancel marker. */
  get cancelKey(): string {
    return this.#key("cancel");
  }

  /** The session's prefix as a `gs://` URI with a trailing slash. */
  get uri(): string {
    return `gs://${this.bucket}/${this.#key("")}`;
  }

  #key(name: string): string {
    return this.path ? `${this.path}/${name}` : name;
  }
}

/** The function's own response in `closed`. */
export interface ClosedResponse {
  status: number;
  content_type: string;
  body: string;
}

/** What a request used until `closed`. Unknown figures are left out. */
export interface Usage {
  wall_seconds?: number;
  cpu_seconds?: number;
  peak_memory_bytes?: number;
  shared?: boolean;
}
