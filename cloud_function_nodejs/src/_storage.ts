/**
 * Accesses Cloud Storage's JSON API, and translates its errors. No other module does.
 *
 * Each operation has one deadline for all of its attempts, and each attempt ends at it.
 */

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import {
  PipesBucketNotFoundError,
  PipesCredentialsError,
  PipesObjectExistsError,
  PipesObjectTooLargeError,
  PipesRequestError,
  PipesStorageError,
  PipesStorageForbiddenError,
  PipesStorageRejectedError,
} from "./_errors.js";
import { type HttpRequest, type HttpResponse, send } from "./_http.js";
import { CLOUD, EMULATOR, VERSION } from "./_protocol.js";
import { quoted, thousands } from "./_text.js";
import { Tokens } from "./_tokens.js";

const EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST";
const CLOUD_URL = "https://storage.googleapis.com";
const STORAGES: Record<string, string> = {
  [EMULATOR]: "an emulator of Cloud Storage",
  [CLOUD]: "Cloud Storage itself",
};

/** Source: https://cloud.google.com/storage/docs/retry-strategy#retryable */
const TRANSIENT_STATUSES = new Set([408, 429, 500, 502, 503, 504]);

/**
 * Errors after which the same request fails again: of a certificate, or of a URL or header.
 *
 * Source: https://nodejs.org/api/tls.html#x509-certificate-error-codes
 */
const PERMANENT_ERROR = /CERT|^(UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_|PATH_LENGTH_|ERR_INVALID_|ERR_UNESCAPED_)/;

/** The permission that each action needs, and the narrowest predefined role that has it. */
const PERMISSIONS = {
  create: ["storage.objects.create", "roles/storage.objectCreator"],
  read: ["storage.objects.get` and `storage.objects.list", "roles/storage.objectViewer"],
} as const;

const MAX_METADATA_BYTES = 64 * 1024;
const FIRST_DELAY_MS = 200;
const MAX_DELAY_MS = 5000;

type Action = keyof typeof PERMISSIONS;

/** The Cloud Storage that a process uses: itself, or the emulator that `STORAGE_EMULATOR_HOST` names. */
export class Storage {
  readonly emulator: string;
  #tokens: Tokens | undefined;

  /** @param tokens Where access tokens come from. Default: the environment. */
  constructor(
    tokens?: Tokens,
    readonly cloudUrl: string = CLOUD_URL,
  ) {
    this.emulator = process.env[EMULATOR_VARIABLE] ?? "";
    this.#tokens = tokens;
  }

  /** Refuse a call of a Dagster that reads messages from an emulator while this writes to the cloud, or reversed. */
  checkSameAs(ofDagster: string | undefined): void {
    const own = this.emulator ? EMULATOR : CLOUD;
    if (ofDagster !== undefined && Object.hasOwn(STORAGES, ofDagster) && own !== ofDagster) {
      throw new PipesRequestError(
        `Dagster uses ${STORAGES[ofDagster]}, and this function uses ${STORAGES[own]}. Dagster would not see its ` +
          `messages.\nFix: Set ${EMULATOR_VARIABLE} to the same emulator for Dagster and for the function, or for ` +
          "neither, and start both again. `dagster-gcf-pipes dev` sets it for both.",
      );
    }
  }

  /** The start of each URL. */
  get url(): string {
    if (!this.emulator) return this.cloudUrl;
    if (!/^https?:\/\/.*[^/]$/i.test(this.emulator)) {
      const scheme = this.emulator.includes("://") ? "" : "http://";
      throw new PipesStorageRejectedError(
        `Expected ${EMULATOR_VARIABLE} to be a URL without a slash at its end, got ${quoted(this.emulator)}.\n` +
          `Fix: Set it to '${scheme}${this.emulator.replace(/\/+$/, "")}'.`,
      );
    }
    return this.emulator;
  }

  /** Get a token before the first request needs it. A failure shows when it does. */
  warmUp(): void {
    if (!this.emulator) this.#tokensOfProcess.get(AbortSignal.timeout(MAX_DELAY_MS)).catch(() => {});
  }

  /** Send a request, and send it once more if Cloud Storage refuses a token, which may have been revoked. */
  async send(path: string, request: HttpRequest): Promise<HttpResponse> {
    const response = await this.#send(path, request);
    return response.status === 401 && !this.emulator ? this.#send(path, request) : response;
  }

  async #send(path: string, request: HttpRequest): Promise<HttpResponse> {
    const headers: Record<string, string> = { "User-Agent": `gcf-pipes-nodejs/${VERSION}`, ...request.headers };
    const url = new URL(`${this.url}${path}`);
    if (this.emulator) return send(url, { ...request, headers });
    const token = await this.#tokensOfProcess.get(request.signal);
    const response = await send(url, { ...request, headers: { ...headers, Authorization: `Bearer ${token}` } });
    if (response.status === 401) this.#tokensOfProcess.drop(token);
    return response;
  }

  get #tokensOfProcess(): Tokens {
    this.#tokens ??= new Tokens();
    return this.#tokens;
  }
}

/** The objects of one bucket. */
export class ObjectStore {
  constructor(
    readonly storage: Storage,
    readonly bucket: string,
  ) {}

  /**
   * Create an object that must not exist yet. Retry after transient errors for at most that many seconds.
   *
   * The retry is safe: the precondition lets only one attempt create the object. If the response to that attempt was
   * lost, the next one recognizes its content.
   */
  async create(key: string, data: Uint8Array, seconds: number): Promise<void> {
    const query = new URLSearchParams({ uploadType: "media", name: key, ifGenerationMatch: "0" });
    const path = `/upload/storage/v1/b/${this.bucket}/o?${query}`;
    const headers = { "Content-Type": "application/x-ndjson" };
    await this.#operate("create", key, seconds, async (signal) => {
      const request = { method: "POST", headers, body: data, signal, maxBytes: MAX_METADATA_BYTES } as const;
      const response = await this.storage.send(path, request);
      if (response.status === 412) await this.#checkOwn(key, data, signal);
      else this.#checkCreated(key, response);
    });
  }

  /** Read an object, or return undefined if it does not exist. */
  async read(key: string, maxBytes: number, seconds: number): Promise<Buffer | undefined> {
    return this.#operate("read", key, seconds, async (signal) => {
      const path = `${this.#path(key)}?alt=media`;
      const response = await this.storage.send(path, { method: "GET", signal, maxBytes });
      if (response.status === 404) return undefined;
      this.#checkStatus("read", key, response);
      if (response.truncated) {
        throw new PipesObjectTooLargeError(`Expected ${this.#uri(key)} to have at most ${thousands(maxBytes)} bytes.`);
      }
      return response.body;
    });
  }

  async #checkOwn(key: string, data: Uint8Array, signal: AbortSignal): Promise<void> {
    const response = await this.storage.send(this.#path(key), { method: "GET", signal, maxBytes: MAX_METADATA_BYTES });
    const { status, body } = response;
    if (status === 404) {
      throw new PipesObjectExistsError(
        `Expected to create ${this.#uri(key)}, but it existed, and was deleted a moment later: ` +
          "another call has written to this session.",
      );
    }
    if (status === 401 || status === 403) {
      throw new PipesObjectExistsError(
        `Expected to create ${this.#uri(key)}, but it exists. Whether another call has written to this ` +
          "session is unknown, because this identity may not read the object. " +
          `Cloud Storage says: ${errorMessage(body)}\n${this.#fix("read", errorMessage(body))}`,
      );
    }
    this.#checkStatus("create", key, response);
    if (this.#parsed("create", key, response).md5Hash !== md5(data)) {
      throw new PipesObjectExistsError(
        `Expected to create ${this.#uri(key)}, but it exists with other content: ` +
          "another call has written to this session.",
      );
    }
  }

  #checkCreated(key: string, response: HttpResponse): void {
    if (response.status === 404) {
      throw new PipesBucketNotFoundError(
        `Cannot create ${this.#uri(key)}: the bucket ${quoted(this.bucket)} does not exist.\n` +
          "Fix: Check the bucket's name in the Dagster resource, and that it was created: " +
          `\`gcloud storage buckets create gs://${this.bucket} --location=REGION\`. ${this.#emulatorHint}`,
      );
    }
    this.#checkStatus("create", key, response);
    this.#parsed("create", key, response);
  }

  #checkStatus(action: Action, key: string, { status, body }: HttpResponse): void {
    if (status >= 200 && status < 300) return;
    const message = errorMessage(body);
    if (status === 401 || status === 403) {
      throw new PipesStorageForbiddenError(
        `Cannot ${action} ${this.#uri(key)}: permission denied. Cloud Storage says: ${message}\n` +
          `${this.#fix(action, message)}`,
      );
    }
    const text = `Cloud Storage returned ${status}: ${message}`;
    if (TRANSIENT_STATUSES.has(status)) throw new PipesStorageError(text);
    throw new PipesStorageRejectedError(`Cannot ${action} ${this.#uri(key)}: ${text}`);
  }

  #parsed(action: Action, key: string, { body }: HttpResponse): Record<string, unknown> {
    try {
      return Object(JSON.parse(body.toString("utf8")));
    } catch (error) {
      throw new PipesStorageRejectedError(
        `Cannot ${action} ${this.#uri(key)}: the response is not JSON, so it is not Cloud Storage's.\n` +
          "Fix: Check that no proxy or login page responds in its place.",
        { cause: error },
      );
    }
  }

  /** Make attempts until one succeeds, an error is not transient, or the time is up. */
  async #operate<T>(
    action: Action,
    key: string,
    seconds: number,
    attempt: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const endsAt = performance.now() + seconds * 1000;
    const { signal, clear } = timeout(seconds * 1000);
    try {
      for (let delay = FIRST_DELAY_MS; ; delay = Math.min(2 * delay, MAX_DELAY_MS)) {
        try {
          return await attempt(signal);
        } catch (error) {
          const problem = this.#translated(action, key, seconds, error, signal);
          const pause = Math.random() * delay;
          if (!problem.transient || performance.now() + pause >= endsAt) throw problem;
          await sleep(pause);
        }
      }
    } finally {
      clear();
    }
  }

  #translated(action: Action, key: string, seconds: number, error: unknown, signal: AbortSignal): PipesStorageError {
    const cannot = `Cannot ${action} ${this.#uri(key)}`;
    if (error instanceof PipesCredentialsError) {
      return new PipesCredentialsError(`${cannot}: ${error.message}`, { cause: error.cause });
    }
    if (error instanceof PipesStorageError && !error.transient) return error;
    const { code = "", message } = error as NodeJS.ErrnoException;
    if (PERMANENT_ERROR.test(code)) {
      return new PipesStorageRejectedError(`${cannot}: ${message}`, { cause: error });
    }
    const wasRefused = code === "ECONNREFUSED";
    let reason = wasRefused ? "the connection was refused" : message || code;
    if (signal.aborted) reason = `there was no response within ${rounded(seconds)} s`;
    const fix = wasRefused ? this.#emulatorFix : "";
    return new PipesStorageError(`${cannot} within ${rounded(seconds)} s: ${reason}${fix}`, { cause: error });
  }

  #fix(action: Action, message: string): string {
    const [permission, role] = PERMISSIONS[action];
    return (
      `Fix: Grant this identity \`${permission}\` on the bucket ${quoted(this.bucket)}, for example with ` +
      `\`${role}\`: \`gcloud storage buckets add-iam-policy-binding gs://${this.bucket} ` +
      `--member=${member(message)} --role=${role}\`.`
    );
  }

  get #emulatorHint(): string {
    const { emulator } = this.storage;
    if (!emulator) return `For an emulator, set ${EMULATOR_VARIABLE}.`;
    return (
      `This is the emulator ${emulator}: ${EMULATOR_VARIABLE} must be the same for Dagster and for the ` +
      "function. `dagster-gcf-pipes dev` sets it for both, and creates the bucket."
    );
  }

  get #emulatorFix(): string {
    const { emulator } = this.storage;
    if (!emulator) return "";
    return (
      `\nFix: Start the emulator ${emulator}, or set ${EMULATOR_VARIABLE} to the URL of the emulator that ` +
      "runs. `dagster-gcf-pipes dev` does both."
    );
  }

  #path(key: string): string {
    return `/storage/v1/b/${this.bucket}/o/${encodeURIComponent(key)}`;
  }

  #uri(key: string): string {
    return `gs://${this.bucket}/${key}`;
  }
}

function timeout(milliseconds: number): { signal: AbortSignal; clear: () => void } {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), Math.max(milliseconds, 0));
  return { signal: controller.signal, clear: () => clearTimeout(timer) };
}

function rounded(seconds: number): string {
  return String(Math.round(seconds * 10) / 10);
}

/** Return Cloud Storage's own message in the body of an error, or the start of the body. */
function errorMessage(body: Buffer): string {
  const text = body.toString("utf8");
  try {
    return String(JSON.parse(text).error.message);
  } catch {
    return text.trim().slice(0, 1000);
  }
}

/** Return the IAM member in an error message of Cloud Storage, or a placeholder. */
function member(message: string): string {
  const email = /[\w.+-]+@[\w.-]+\w/.exec(message)?.[0];
  if (!email) return "MEMBER";
  return `${email.endsWith(".gserviceaccount.com") ? "serviceAccount" : "user"}:${email}`;
}

function md5(data: Uint8Array): string {
  return createHash("md5").update(data).digest("base64");
}
