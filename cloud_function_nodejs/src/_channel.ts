/** Writes a session's messages to the bucket, in numbered chunks, while the function runs. */

import { type Chunk, ChunkBuffer, type ChunkBufferOptions, SealedError } from "./_chunk_buffer.js";
import type { CallDeadline } from "./_deadline.js";
import { encodeMessage, type Method } from "./_encoding.js";
import {
  DagsterPipesError,
  PipesDuplicateCallError,
  PipesMessagesNotStoredError,
  PipesObjectExistsError,
  PipesStorageError,
} from "./_errors.js";
import { logOwn } from "./_own_logs.js";
import { HEARTBEAT, type SessionPrefix } from "./_protocol.js";
import type { StreamName } from "./_stdio.js";
import type { ObjectStore } from "./_storage.js";
import { counted, thousands } from "./_text.js";

/** Seconds that an upload always has, even after the call's deadline. */
const MIN_FLUSH_TIMEOUT = 2;
/** Seconds that must be left for a retry. A shorter one would only hide why the earlier attempt failed. */
const MIN_RETRY_TIMEOUT = 0.1;
/** Seconds after which a stalled upload is started again, in addition to the time that its bytes need. */
const MIN_ATTEMPT_TIMEOUT = 0.5;
const MAX_ATTEMPT_TIMEOUT = 5;
/** Bytes per second that every connection should reach. */
const MIN_UPLOAD_RATE = 256 * 1024;
/** Seconds to wait for the last flush after its time is up, so that it can fail with its own error. */
const END_RESERVE = 1;

const HEARTBEAT_CHUNK: Chunk = { data: HEARTBEAT, messageCount: 0 };

export interface ChannelOptions extends ChunkBufferOptions {
  /** Seconds that the claim may take with its retries, and the last flush of a call without deadline. */
  uploadTimeout: number;
  /** Seconds without a chunk after which a heartbeat is uploaded. */
  heartbeatInterval: number;
}

/**
 * The channel of one session. It numbers the chunks and uploads them in order, each once.
 *
 * `claim` uploads the first message: of several deliveries of one call, only one can create chunk 1. Later messages are
 * gathered into chunks, which a task uploads. After `heartbeatInterval` seconds without a chunk, it uploads a heartbeat.
 *
 * `end` seals the channel: `closed` is the last line of the last chunk. Later messages are refused.
 *
 * Uploads are retried after transient errors until the call's deadline, or without limit if it has none.
 */
export class Channel {
  readonly #buffer: ChunkBuffer;
  #giveUpAt = Number.NEGATIVE_INFINITY; // uploads are retried until then, on the clock of `performance.now()`
  #uploads: Promise<void> | undefined;
  #failure: Error | undefined;
  #inUpload = 0; // messages of the chunk that is uploaded now, or whose upload failed
  #chunkCount = 0;

  /**
   * @param store The bucket.
   * @param prefix The session's prefix in the bucket.
   * @param deadline When the call must end.
   * @param interruption Aborted when Pipes calls should fail. Its reason is the error.
   */
  constructor(
    readonly store: ObjectStore,
    readonly prefix: SessionPrefix,
    readonly deadline: CallDeadline,
    readonly interruption: AbortSignal,
    readonly options: ChannelOptions,
  ) {
    this.#buffer = new ChunkBuffer(options);
    interruption.addEventListener("abort", () => this.#buffer.refuseWaiting(interruption.reason), { once: true });
  }

  /** The number of stored chunks, including heartbeats. */
  get chunkCount(): number {
    return this.#chunkCount;
  }

  /** Store `opened` as the first chunk, which claims the session, and start the uploads. */
  async claim(opened: Record<string, unknown>): Promise<void> {
    const now = performance.now();
    const flushUntil = Math.max(this.deadline.flushUntil, now + MIN_FLUSH_TIMEOUT * 1000);
    this.#giveUpAt = Math.min(now + this.options.uploadTimeout * 1000, flushUntil);
    try {
      await this.#upload({ data: encodeMessage("opened", opened), messageCount: 1 });
    } catch (error) {
      if (!(error instanceof PipesObjectExistsError)) throw error;
      throw new PipesDuplicateCallError(
        `Another delivery of this call has claimed the session at ${this.prefix.uri}. ` +
          "This one does not run the function's code again.",
        { cause: error },
      );
    }
    this.#giveUpAt = this.deadline.flushUntil;
    this.#uploads = this.#uploadChunks();
  }

  /**
   * Write a message. It is in its place when this returns; the promise waits while the buffer is full.
   *
   * A message that Dagster would not accept throws at once.
   */
  write(method: Method, params: Record<string, unknown>): Promise<void> {
    const line = encodeMessage(method, params);
    return this.#put(line);
  }

  /** Write output of the function. It neither waits nor fails: what does not fit is dropped and counted. */
  writeOutput(stream: StreamName, text: string): void {
    try {
      this.#buffer.offer(encodeMessage("log_external_stream", { stream, text, extras: {} }));
    } catch (error) {
      if (!(error instanceof SealedError)) throw error;
    }
  }

  /** Seal the channel with `closed`, and wait until all messages are stored, or until the call's deadline. */
  async end(closed: Record<string, unknown>): Promise<void> {
    this.#seal(encodeMessage("closed", closed));
    const now = performance.now();
    this.#giveUpAt = Number.isFinite(this.#giveUpAt)
      ? Math.max(this.#giveUpAt, now + MIN_FLUSH_TIMEOUT * 1000)
      : now + this.options.uploadTimeout * 1000;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#giveUpAt - now + END_RESERVE * 1000);
    });
    const ended = this.#uploads?.then(() => true);
    if (!(await Promise.race([ended, late]))) {
      const seconds = Math.round((performance.now() - now) / 1000);
      this.#fail(new Error(`an upload was still under way after ${seconds} s`));
    }
    clearTimeout(timer);
    if (this.#failure) throw this.#notStored();
  }

  async #put(line: Uint8Array): Promise<void> {
    this.interruption.throwIfAborted();
    try {
      await this.#buffer.put(line);
    } catch (error) {
      if (!(error instanceof SealedError)) throw error;
      if (this.#failure) throw this.#notStored();
      throw new DagsterPipesError("Cannot send message after pipes context is closed.");
    }
    if (!this.#failure) return;
    this.interruption.throwIfAborted(); // a cancellation says more than the upload that it stopped
    throw this.#notStored();
  }

  #seal(closed: Uint8Array): void {
    const dropped = this.#buffer.seal();
    if (!dropped || this.#failure) {
      this.#buffer.endWriting(closed);
      return;
    }
    const message =
      `[pipes] ${thousands(dropped)} pieces of the function's output were dropped here: it printed faster than the ` +
      "output could be stored. The function's log has all of it.";
    this.#buffer.endWriting(encodeMessage("log", { message, level: "WARNING" }), closed);
    logOwn("WARNING", message);
  }

  async #uploadChunks(): Promise<void> {
    try {
      while (true) {
        const chunk = await this.#buffer.take(this.options.heartbeatInterval);
        if (!chunk && this.#buffer.drained) return;
        await this.#upload(chunk ?? HEARTBEAT_CHUNK);
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  /** Upload the next chunk. Start a stalled upload again with the same bytes: they identify its own chunk. */
  async #upload(chunk: Chunk): Promise<void> {
    this.#inUpload = chunk.messageCount;
    const key = this.prefix.chunkKey(this.#chunkCount + 1);
    while (!this.#failure) {
      try {
        await this.store.create(key, chunk.data, this.#attemptTimeout(chunk.data.length));
        this.#chunkCount++;
        this.#inUpload = 0;
        return;
      } catch (error) {
        const isTransient = error instanceof PipesStorageError && error.transient;
        if (!isTransient || this.#giveUpAt - performance.now() < MIN_RETRY_TIMEOUT * 1000) throw error;
      }
    }
  }

  /** Return how many seconds to wait for an upload. It depends on the chunk's size, not on earlier attempts. */
  #attemptTimeout(size: number): number {
    const half = this.options.heartbeatInterval / 2;
    const stalled = Math.max(MIN_ATTEMPT_TIMEOUT, Math.min(MAX_ATTEMPT_TIMEOUT, half));
    const remaining = (this.#giveUpAt - performance.now()) / 1000;
    const least = this.#chunkCount ? MIN_FLUSH_TIMEOUT : 0; // the claim's timeout bounds all of its attempts
    return Math.min(stalled + size / MIN_UPLOAD_RATE, Math.max(remaining, least));
  }

  #fail(error: Error): void {
    this.#failure = error;
    this.#buffer.fail();
  }

  #notStored(): PipesMessagesNotStoredError {
    const count = counted(this.#inUpload + this.#buffer.dropped, "Pipes message");
    return new PipesMessagesNotStoredError(
      `${count} could not be stored after chunk ${this.#chunkCount} of ${this.prefix.uri}: ${this.#failure?.message}`,
      { cause: this.#failure },
    );
  }
}
