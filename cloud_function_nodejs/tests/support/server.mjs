// The functions-framework with a function of these tests, in a process of its own.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { freePort, start } from "./processes.mjs";

const require = createRequire(import.meta.url);
const FRAMEWORK = require.resolve("@google-cloud/functions-framework").replace(/index\.js$/, "main.js");

/** Serve a file of tests/functions. */
export async function startServer(file, { env = {}, storage, nodeArgs = [] }) {
  const port = await freePort();
  const source = fileURLToPath(new URL(`../functions/${file}`, import.meta.url));
  const args = [...nodeArgs, FRAMEWORK, "--target=main", `--source=${source}`];
  const variables = { PORT: String(port), ...(storage && { STORAGE_EMULATOR_HOST: storage }), ...env };
  const server = await start(process.execPath, args, { env: variables, ready: /URL: / });
  return Object.assign(server, { url: `http://127.0.0.1:${port}/` });
}
