/** Decides which buckets and prefixes a call may name: anyone who can reach the function can send it a payload. */

import { PipesRequestError } from "./_errors.js";
import { BUCKET_NAME, BUCKETS_VARIABLE, KEY_PREFIX_VARIABLE } from "./_protocol.js";
import { excerpt, quoted } from "./_text.js";

/**
 * The longest name of an object, or prefix, that a call may name, in bytes. The platform's limit is 1,024.
 *
 * Source: https://cloud.google.com/storage/docs/objects#naming
 */
const MAX_KEY_BYTES = 1000;

/** What Python's `str.isprintable` refuses. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/** The buckets and the base prefix that calls may name. */
export class AllowedLocations {
  /**
   * @param buckets Names of buckets, or undefined for any.
   * @param keyPrefix The base prefix, without a slash at its end, or undefined for any.
   */
  constructor(
    readonly buckets?: ReadonlySet<string>,
    readonly keyPrefix?: string,
  ) {}

  /** Read `GCF_PIPES_BUCKETS`, names separated by commas, and `GCF_PIPES_KEY_PREFIX`. Empty means unset. */
  static fromEnvironment(): AllowedLocations {
    const buckets = (process.env[BUCKETS_VARIABLE] ?? "").trim();
    const keyPrefix = (process.env[KEY_PREFIX_VARIABLE] ?? "").trim();
    const plainPrefix = keyPrefix.replace(/^\/+|\/+$/g, "");
    const names = buckets
      .split(",")
      .map((name) => name.trim())
      .filter(Boolean);
    if (buckets && !(names.length && names.every((name) => BUCKET_NAME.test(name)))) {
      throw new RangeError(
        `Expected ${BUCKETS_VARIABLE} to be bucket names, separated by commas, got ${quoted(buckets)}.\n` +
          "Fix: Set it to the bucket of your Dagster resource, without gs://, or unset it.",
      );
    }
    if (keyPrefix && !isPlain(plainPrefix)) {
      throw new RangeError(
        `Expected ${KEY_PREFIX_VARIABLE} to be plain names with single slashes between them, ` +
          `got ${quoted(keyPrefix)}.\nFix: Set it to \`key_prefix\` of your Dagster resource, or unset it.`,
      );
    }
    return new AllowedLocations(names.length ? new Set(names) : undefined, plainPrefix || undefined);
  }

  /**
   * Refuse a bucket or key that a call may not name, without revealing which ones it may.
   *
   * @param bucket The name of the bucket.
   * @param key An object's name, or a prefix of names.
   * @param where Which params name them, for the error text.
   */
  check(bucket: string, key: string, where: string): void {
    if (!BUCKET_NAME.test(bucket)) {
      throw new PipesRequestError(`Expected 'bucket' in the ${where} params to be the name of a bucket.`);
    }
    if (this.buckets && !this.buckets.has(bucket)) {
      throw new PipesRequestError(
        `Expected 'bucket' in the ${where} params to be a bucket that this function accepts.\n` +
          `Fix: Set \`bucket\` of the Dagster resource and ${BUCKETS_VARIABLE} in the function's environment to ` +
          "the same bucket.",
      );
    }
    if (Buffer.byteLength(key) > MAX_KEY_BYTES) {
      throw new PipesRequestError(`Expected the key in the ${where} params to have at most ${MAX_KEY_BYTES} bytes.`);
    }
    if (key && !isPlain(key)) {
      throw new PipesRequestError(
        `Expected the key in the ${where} params to be plain names with single slashes between them, ` +
          `got ${excerpt(key)}.`,
      );
    }
    if (this.keyPrefix !== undefined && !key.startsWith(`${this.keyPrefix}/`)) {
      throw new PipesRequestError(
        `Expected the key in the ${where} params to be below the prefix that this function accepts.\nFix: Set ` +
          `\`key_prefix\` of the Dagster resource and ${KEY_PREFIX_VARIABLE} in the function's environment to the ` +
          "same prefix.",
      );
    }
  }
}

function isPlain(key: string): boolean {
  return !UNPRINTABLE.test(key) && !key.split("/").some((part) => part === "" || part === "." || part === "..");
}
