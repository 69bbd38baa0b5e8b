// Child processes that serve on a free port. Their end is awaited.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

/** Return a port that nothing listens on. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Start a process, and wait until its output matches a pattern. */
export async function start(command, args, { env, ready }) {
  const child = spawn(command, args, { env: { ...cleanEnvironment(), ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const started = { child, output: "", stop: () => stop(child) };
  await new Promise((resolve, reject) => {
    const read = (text) => {
      started.output += text;
      if (ready.test(started.output)) resolve();
    };
    child.stdout.setEncoding("utf8").on("data", read);
    child.stderr.setEncoding("utf8").on("data", read);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`${command} ended with ${code}:\n${started.output}`)));
  });
  return started;
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

/** Return the environment without what would change a function. */
function cleanEnvironment() {
  const { PATH, HOME } = process.env;
  return { PATH, HOME };
}
