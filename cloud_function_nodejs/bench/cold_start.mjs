// Measures how long a new process takes until its first response, with and without this package, in turns, and how much
// CPU time its main thread needs for that.
//
// `npm run bench` needs fake-gcs-server on the PATH. `npm run bench -- 20` makes 20 rounds. If @google-cloud/storage is
// installed (`npm install --no-save @google-cloud/storage`), a third column shows a function that only imports it.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
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
    return { wall: performance.now() - started, cpu: cpuMilliseconds(child.pid) };
  } finally {
    child.kill("SIGKILL");
  }
}

/** Return the CPU time of a process's main thread, which other processes on the machine do not change. Linux only. */
function cpuMilliseconds(pid) {
  return Number(readFileSync(`/proc/${pid}/schedstat`, "latin1").split(" ")[0]) / 1e6;
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
const of = (name, figure) => median(times[name].map((each) => each[figure]));
for (const name of Object.keys(times)) {
  const [wall, cpu] = ["wall", "cpu"].map((figure) => {
    const more = of(name, figure) - of("bare", figure);
    return `${of(name, figure).toFixed(0)} ms (+${more.toFixed(0)})`;
  });
  console.log(`${name}: ${wall} until the first response, ${cpu} of CPU; medians of ${rounds} cold starts`);
}
