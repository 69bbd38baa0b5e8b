/**
 * Gets access tokens for Cloud Storage.
 *
 * On Google Cloud they come from the metadata server, with one request. Elsewhere, and for key files, they come from
 * google-auth-library, which is loaded then and not before: it takes longer to load than all of this package.
 */

import { PipesCredentialsError, PipesStorageError } from "./_errors.js";
import { askMetadataServer, METADATA_HOST_VARIABLE } from "./_metadata.js";

const SCOPE = "https://www.googleapis.com/auth/devstorage.read_write";
const TOKEN_PATH = "instance/service-accounts/default/token";

/**
 * Seconds before its end at which a token is replaced. The metadata server keeps a token until five minutes before it.
 *
 * Source: https://cloud.google.com/compute/docs/access/authenticate-workloads#applications (caching by the server).
 */
const REFRESH_SECONDS = 225;

export interface Token {
  value: string;
  /** When it ends, on the clock of `performance.now()`. */
  endsAt: number;
}

export type TokenSource = (signal: AbortSignal) => Promise<Token>;

/** Keeps the current token of a process. Requests that need a new one at once share one request for it. */
export class Tokens {
  #token: Token | undefined;
  #next: Promise<Token> | undefined;

  constructor(readonly source: TokenSource = environmentSource()) {}

  /** Return a token that is valid for some minutes. */
  async get(signal: AbortSignal): Promise<string> {
    if (this.#token && performance.now() < this.#token.endsAt - REFRESH_SECONDS * 1000) return this.#token.value;
    this.#next ??= this.source(signal).finally(() => {
      this.#next = undefined;
    });
    this.#token = await this.#next;
    return this.#token.value;
  }

  /** Forget a token that Cloud Storage refuses. */
  drop(value: string): void {
    if (this.#token?.value === value) this.#token = undefined;
  }
}

function environmentSource(): TokenSource {
  const hasMetadataServer = process.env.K_SERVICE || process.env[METADATA_HOST_VARIABLE];
  return hasMetadataServer && !process.env.GOOGLE_APPLICATION_CREDENTIALS ? fromMetadataServer : libraryToken;
}

async function fromMetadataServer(signal: AbortSignal): Promise<Token> {
  const { status, body } = await askMetadataServer(TOKEN_PATH, signal);
  const text = body.toString("utf8");
  if (status === 429 || status >= 500) {
    throw new PipesStorageError(`the metadata server returned ${status} for a token`);
  }
  try {
    const { access_token: value, expires_in: seconds } = JSON.parse(text);
    if (status === 200 && typeof value === "string" && typeof seconds === "number") {
      return { value, endsAt: performance.now() + seconds * 1000 };
    }
  } catch {
    // not JSON: an error of the server, described below
  }
  throw noCredentials(`the metadata server returned ${status} for a token`);
}

async function libraryToken(): Promise<Token> {
  const { GoogleAuth } = await importLibrary();
  try {
    const client = await new GoogleAuth({ scopes: SCOPE }).getClient();
    const { token } = await client.getAccessToken();
    if (!token) throw new Error("there is no access token");
    const endsAt = client.credentials.expiry_date;
    return { value: token, endsAt: performance.now() + (endsAt ? endsAt - Date.now() : 0) };
  } catch (error) {
    throw noCredentials(`google-auth-library says: ${(error as Error).message.trim().replace(/\.$/, "")}`);
  }
}

interface AuthLibrary {
  GoogleAuth: new (options: { scopes: string }) => {
    getClient(): Promise<{
      getAccessToken(): Promise<{ token?: string | null }>;
      credentials: { expiry_date?: number | null };
    }>;
  };
}

async function importLibrary(): Promise<AuthLibrary> {
  const name: string = "google-auth-library"; // not a literal: its types are not needed to build this package
  try {
    return await import(name);
  } catch (error) {
    if (!/MODULE_NOT_FOUND$/.test((error as NodeJS.ErrnoException).code ?? "")) throw error;
    throw noCredentials("google-auth-library, which finds credentials outside Google Cloud, is not installed");
  }
}

function noCredentials(reason: string): PipesCredentialsError {
  return new PipesCredentialsError(
    `there are no credentials that Google accepts. ${reason.charAt(0).toUpperCase()}${reason.slice(1)}.\n` +
      "Fix: Deploy the function with a service account that exists and is enabled. On another machine, run " +
      "`npm install google-auth-library`, and log in with `gcloud auth application-default login`, or set " +
      "GOOGLE_APPLICATION_CREDENTIALS to the path of a key file. For an emulator, set STORAGE_EMULATOR_HOST.",
  );
}
