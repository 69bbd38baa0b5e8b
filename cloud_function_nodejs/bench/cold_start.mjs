// Measures how long a new process takes until its first response, with and without this package, in turns.
//
// `npm run bench` needs fake-gcs-server on the PATH. `npm run bench -- 20` makes 20 rounds. If @google-cloud/storage is
// installed (`npm install --no-save @google-cloud/storage`), a third column shows a function that only imports it.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { body, newPrefix, post } from "../tests/support/calls.mjs";
import { startEmulator } from "../tests/support/emulator.mjs";
import { freePort } from "../tests/support/processes.mjs";

const require = createRequire(import.meta.url);
const FRAMEWORK = require.resolve("@google-cloud/functions-framework").replace(/index\.js$/, "main.js");

async function coldStart(name, storage) {
  const port = await freePort();
  const source = fileURLToPath(new URL(`functions/${name}.mjs`, import.meta.url));
  const env = { PATH: process.env.PATH, PORT: String(port), STORAGE_EMULATOR_HOST: storage, NODE_ENV: "production" };
  const started = performance.now();
  const child = spawn(process.execPath, [FRAMEWORK, "--target=main", `--source=${source}`], { env, stdio: "ignore" });
  try {
    const response = await firstResponse(`http://127.0.0.1:${port}/`);
    if (response.status !== 200) throw new Error(`${name}: ${response.status} ${response.text}`);
    return performance.now() - started;
  } finally {
    child.kill("SIGKILL");
  }
}

async function firstResponse(url) {
  const data = body(newPrefix());
  while (true) {
    try {
      return await post(url, data);
    } catch (error) {
      if (error.code !== "ECONNREFUSED") throw error;
      await sleep(2);
    }
  }
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function names() {
  try {
    require.resolve("@google-cloud/storage");
    return ["bare", "pipes", "library"];
  } catch {
    return ["bare", "pipes"];
  }
}

const rounds = Number(process.argv[2] ?? 15);
const emulator = await startEmulator();
const times = Object.fromEntries(names().map((name) => [name, []]));
for (const name of Object.keys(times)) await coldStart(name, emulator.url); // the first reads the files from the disk
for (let round = 0; round < rounds; round++) {
  for (const name of Object.keys(times)) times[name].push(await coldStart(name, emulator.url));
}
await emulator.stop();
const bare = median(times.bare);
for (const [name, values] of Object.entries(times)) {
  const more = name === "bare" ? "" : `, ${(median(values) - bare).toFixed(0)} ms more than a bare function`;
  console.log(`${name}: median ${median(values).toFixed(0)} ms of ${rounds} cold starts${more}`);
}
