/** Asks Google Cloud's metadata server, which is on the same machine. */

import { send } from "./_http.js";

/** Names another metadata server, as for Google's own libraries. */
export const METADATA_HOST_VARIABLE = "GCE_METADATA_HOST";

/** The metadata server's address. No timeout would bound a lookup of its name. */
const METADATA_HOST = "169.254.169.254";
const MAX_BYTES = 64 * 1024;

/** Return the response to a path below `/computeMetadata/v1/`. */
export function askMetadataServer(path: string, signal: AbortSignal) {
  const host = process.env[METADATA_HOST_VARIABLE] || METADATA_HOST;
  const url = new URL(`http://${host}/computeMetadata/v1/${path}`);
  return send(url, { method: "GET", headers: { "Metadata-Flavor": "Google" }, signal, maxBytes: MAX_BYTES });
}

/** Return a value below `/computeMetadata/v1/`, or undefined if the server does not return it in time. */
export async function readMetadata(path: string, timeoutMs: number): Promise<string | undefined> {
  try {
    const { status, body } = await askMetadataServer(path, AbortSignal.timeout(timeoutMs));
    return status === 200 ? body.toString("utf8").trim() || undefined : undefined;
  } catch {
    return undefined;
  }
}
