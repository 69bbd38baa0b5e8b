// A function that does what the event says.
import { setTimeout as sleep } from "node:timers/promises";

import { currentPipes, DagsterPipesError, pipesFunction } from "gcf-pipes";

const BEHAVIORS = {
  report: async (_event, pipes) => {
    pipes.log.info("rows: %d", 3);
    await pipes.reportAssetMaterialization({ metadata: { rows: 3, note: { rawValue: "**b**", type: "md" } } });
    await pipes.reportAssetCheck({ checkName: "full", passed: true, severity: "WARN" });
    await pipes.reportCustomMessage({ own: [1, null] });
    return { rows: 3 };
  },
  calls: async ({ calls }, pipes) => {
    for (const [name, ...args] of calls) await pipes[name](...args);
  },
  get: (event, pipes) => ({ value: pipes[event.name] ?? null }),
  nothing: () => undefined,
  text: () => "<b>text</b>",
  bytes: () => Buffer.from([0xff, 0x00]),
  cycle: () => {
    const value = {};
    value.self = value;
    return value;
  },
  response: ({ status, body, headers }) => new Response(body, { status, headers }),
  express: (_event, _pipes, req) => {
    req.res.status(200).send("sent past the session");
  },
  fail: () => {
    throw new RangeError("wrong", { cause: new TypeError("deeper", { cause: "a text" }) });
  },
  aggregate: () => {
    throw new AggregateError([new Error("first"), new Error("second")], "both failed");
  },
  chain: ({ length }) => {
    let error = new Error("0");
    for (let i = 1; i < length; i++) error = new Error(`${i}`, { cause: error });
    throw error;
  },
  circle: () => {
    const error = new Error("first");
    error.cause = new Error("second", { cause: error });
    throw error;
  },
  large: () => {
    throw new Error("x".repeat(1_000_000));
  },
  throws: ({ what }) => {
    throw { null: null, undefined, text: "a text", symbol: Symbol("s"), object: { a: 1 } }[what];
  },
  hostile: () => {
    class Hostile extends Error {
      get message() {
        throw new Error("no message");
      }
    }
    throw new Hostile();
  },
  timer: async () => {
    setTimeout(() => {
      throw new Error("thrown in a timer");
    });
    await new Promise(() => {});
  },
  unhandled: async () => {
    Promise.reject(new Error("nobody handles this"));
    await new Promise(() => {});
  },
  forgotten: async (_event, pipes) => {
    pipes.reportAssetMaterialization({ assetKey: "another" });
    await sleep(10_000);
  },
  late: async (_event, pipes) => {
    setTimeout(() => pipes.log.info("too late"), 50);
    setTimeout(() => {
      pipes.reportCustomMessage("too late").catch((error) => console.log(`late call: ${error.message}`));
    }, 50);
  },
  closedError: async (_event, pipes) => {
    pipes.log.info("first");
  },
  isolated: async ({ name }, pipes) => {
    for (let i = 0; i < 20; i++) {
      await sleep(Math.random() * 5);
      currentPipes().log.info(`${name} ${i}`);
      console.log(`printed by ${name}`);
    }
    return { same: currentPipes() === pipes };
  },
  burst: async ({ lines, size }, pipes) => {
    for (let i = 0; i < lines; i++) await pipes.log.info(`${i} `.padEnd(size, "x"));
    return { rss: process.memoryUsage.rss() };
  },
  flood: ({ lines, size }) => {
    for (let i = 0; i < lines; i++) process.stdout.write(`${`${i} `.padEnd(size, "x")}\n`);
  },
  print: () => {
    console.log("to stdout: %s", "é");
    console.error("to stderr");
    process.stdout.write("no end");
  },
  printAndFail: () => {
    console.log("before");
    throw new Error("after printing");
  },
  sleep: async ({ seconds }, pipes) => {
    await sleep(seconds * 1000, undefined, { signal: pipes.signal });
    pipes.log.info("slept");
  },
  ignore: async ({ seconds }) => {
    await sleep(seconds * 1000);
  },
  waits: async (_event, pipes) => {
    while (!pipes.cancelled) await sleep(20);
    await pipes.log.info("after the signal");
  },
  cleanup: async (_event, pipes) => {
    await new Promise((resolve) => pipes.signal.addEventListener("abort", resolve));
    return { reason: pipes.signal.reason.name };
  },
  kind: (_event, pipes) => {
    try {
      pipes.getExtra("missing");
    } catch (error) {
      return { isOurs: error instanceof DagsterPipesError, message: error.message };
    }
  },
};

export const main = pipesFunction((req, pipes) => BEHAVIORS[req.body.task](req.body, pipes, req), {
  heartbeatInterval: Number(process.env.HEARTBEAT_INTERVAL ?? 10),
  maxBufferBytes: Number(process.env.MAX_BUFFER_BYTES ?? 8 * 1024 * 1024),
});
