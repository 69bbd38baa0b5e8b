/** How the messages of a function are written. */

import type { ChannelOptions } from "./_channel.js";
import { HEARTBEAT_INTERVAL, MAX_CHUNK_BYTES } from "./_protocol.js";
import { thousands } from "./_text.js";

/**
 * Half of the time from SIGTERM to SIGKILL, so that messages can be stored before an instance is shut down.
 *
 * Source: https://cloud.google.com/run/docs/container-contract#instance-shutdown (10 seconds)
 */
const MAX_FLUSH_INTERVAL = 5;
/**
 * The longest timeout and interval: a function's own limit is an hour.
 *
 * Source: https://cloud.google.com/run/docs/configuring/request-timeout (60 minutes)
 */
const MAX_SECONDS = 3600;

/** Options of `pipesFunction`. All have defaults that fit most functions. */
export interface PipesFunctionOptions {
  /** Seconds that a message waits for others before its chunk is uploaded, at most 5. Default 0.2. */
  flushInterval?: number;
  /** Size at which a chunk is uploaded without waiting, in bytes, at most 64 MiB. Default 1 MiB. */
  maxChunkBytes?: number;
  /** Size of the messages that may wait for their upload, in bytes, at least 1. Default 8 MiB. */
  maxBufferBytes?: number;
  /**
   * Seconds that the first upload, which claims the session, may take with its retries. Also the limit of the last
   * flush of a call without deadline. At most 3600. Default 30.
   */
  uploadTimeout?: number;
  /** Seconds without a chunk after which a heartbeat shows that the function is alive, at most 3600. Default 10. */
  heartbeatInterval?: number;
}

/** Return the options with their defaults, or refuse one that is out of its range. */
export function validatedOptions(options: PipesFunctionOptions): ChannelOptions {
  const { flushInterval = 0.2, maxChunkBytes = 1024 * 1024, maxBufferBytes = 8 * 1024 * 1024 } = options;
  const { uploadTimeout = 30, heartbeatInterval = HEARTBEAT_INTERVAL } = options;
  check("flushInterval", flushInterval >= 0 && flushInterval <= MAX_FLUSH_INTERVAL, "0 to 5 s", flushInterval);
  const chunkRange = `1 to ${thousands(MAX_CHUNK_BYTES)}`;
  check("maxChunkBytes", maxChunkBytes > 0 && maxChunkBytes <= MAX_CHUNK_BYTES, chunkRange, maxChunkBytes);
  check("maxBufferBytes", maxBufferBytes > 0 && Number.isFinite(maxBufferBytes), "1 or more", maxBufferBytes);
  checkSeconds("uploadTimeout", uploadTimeout);
  checkSeconds("heartbeatInterval", heartbeatInterval);
  return { flushInterval, maxChunkBytes, maxBufferBytes, uploadTimeout, heartbeatInterval };
}

function checkSeconds(name: string, seconds: number): void {
  check(name, seconds > 0 && seconds <= MAX_SECONDS, `more than 0 s and at most ${MAX_SECONDS} s`, seconds);
}

function check(name: string, isValid: boolean, expected: string, value: unknown): void {
  if (!isValid) throw new RangeError(`Expected \`${name}\` to be ${expected}, got ${value}.`);
}
