// fake-gcs-server, an emulator of Cloud Storage that honours preconditions.
import { freePort, start } from "./processes.mjs";

export const BUCKET = "pipes-test";

/** Run an emulator with a bucket. */
export async function startEmulator() {
  const port = await freePort();
  const args = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", String(port)];
  const { stop } = await start("fake-gcs-server", args, { ready: /server started at/ });
  const emulator = new Emulator(`http://127.0.0.1:${port}`, stop);
  await emulator.post("/storage/v1/b", JSON.stringify({ name: BUCKET }));
  return emulator;
}

class Emulator {
  constructor(url, stop) {
    this.url = url;
    this.stop = stop;
  }

  async post(path, body) {
    const response = await fetch(this.url + path, { method: "POST", body });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  }

  /** Create an object. */
  create(key, body) {
    const query = new URLSearchParams({ uploadType: "media", name: key });
    return this.post(`/upload/storage/v1/b/${BUCKET}/o?${query}`, body);
  }

  /** Return an object's content, or null. */
  async read(key) {
    const response = await fetch(`${this.url}/storage/v1/b/${BUCKET}/o/${encodeURIComponent(key)}?alt=media`);
    return response.ok ? response.text() : null;
  }

  /** Return the chunks of a session, in order. */
  async chunks(prefix) {
    const chunks = [];
    for (let index = 1; ; index++) {
      const chunk = await this.read(`${prefix}/${index}.json`);
      if (chunk === null) return chunks;
      chunks.push(chunk);
    }
  }

  /** Return the messages of a session, in order. */
  async messages(prefix) {
    const lines = (await this.chunks(prefix)).join("").split("\n");
    return lines.filter(Boolean).map((line) => JSON.parse(line));
  }
}
