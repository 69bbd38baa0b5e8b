// What a call does when Cloud Storage fails, when Dagster terminates the run, and when the time is up.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";

import { call, newPrefix } from "./support/calls.mjs";
import { BUCKET, startEmulator } from "./support/emulator.mjs";
import { startProxy } from "./support/proxy.mjs";
import { startServer } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

let emulator;
let proxy;
let server;

before(async () => {
  emulator = await startEmulator();
  proxy = await startProxy(emulator.url);
  const env = { HEARTBEAT_INTERVAL: "0.4", MAX_BUFFER_BYTES: String(1024 * 1024) };
  server = await startServer("behaviors.mjs", { env, storage: proxy.url });
});

after(async () => {
  await server?.stop();
  proxy?.stop();
  await emulator?.stop();
});

beforeEach(() => {
  proxy.plan = () => undefined;
  proxy.faults = 0;
});

/** Plan a fault for the first `times` uploads of chunk `index`, or for all its uploads. */
const onChunk = (index, fault, times = 1) => {
  let left = times;
  proxy.plan = ({ method, url }) =>
    method === "POST" && url.includes(`/${index}.json`) && left-- > 0 ? fault : undefined;
};

const closedOf = async ({ prefix }) => (await emulator.messages(prefix)).at(-1).params;
const methodsOf = (messages) => messages.map(({ method }) => method);
const REPORTED = [
  "opened",
  "log",
  "report_asset_materialization",
  "report_asset_check",
  "report_custom_message",
  "closed",
];

describe("an upload", () => {
  for (const [name, fault, times] of [
    ["whose acknowledgement is lost", "lose", 1],
    ["whose acknowledgement is lost three times", "lose", 3],
    ["whose connection is reset", "reset", 3],
    ["that stalls", "stall", 2],
    ["that meets 503s", 503, 3],
    ["that meets 429s", 429, 2],
    ["that meets a 408", 408, 1],
  ]) {
    for (const index of [1, 2]) {
      test(`${name} is stored once: chunk ${index}`, async () => {
        onChunk(index, fault, times);
        const response = await call(server, { task: "report" });
        assert.equal(response.status, 200, response.text);
        assert.equal(proxy.faults, times);
        assert.deepEqual(methodsOf(await emulator.messages(response.prefix)), REPORTED);
        assert.equal(
          response.headers["dagster-pipes-chunk-count"],
          String((await emulator.chunks(response.prefix)).length),
        );
      });
    }
  }

  test("that is never possible refuses the call, and the code does not run", async () => {
    onChunk(1, 503, Number.POSITIVE_INFINITY);
    const response = await call(server, { task: "report" }, { headers: { "Dagster-Pipes-Timeout": "3" } });
    assert.equal(response.status, 503);
    assert.equal(response.headers["dagster-pipes-error"], "storage_unavailable");
    assert.match(response.json().error.message, /^Cannot create gs:.*1\.json within .* s: Cloud Storage returned 503/);
    assert.ok(proxy.faults > 1);
    assert.deepEqual(await emulator.chunks(response.prefix), []);
  });

  test("without a permission is not retried", async () => {
    onChunk(1, 403, Number.POSITIVE_INFINITY);
    const response = await call(server, { task: "report" });
    assert.equal(response.status, 500);
    assert.equal(response.headers["dagster-pipes-error"], "storage_forbidden");
    assert.equal(proxy.faults, 1);
    const { message } = response.json().error;
    assert.match(message, /permission denied\. Cloud Storage says: planned 403\nFix: Grant this identity/);
    assert.match(message, /`gcloud storage buckets add-iam-policy-binding gs:\/\/pipes-test --member=MEMBER/);
  });

  test("to a bucket that does not exist says so", async () => {
    const response = await call(server, { task: "report" }, { messages: { bucket: "no-such-bucket" } });
    assert.equal(response.headers["dagster-pipes-error"], "bucket_not_found");
    assert.match(
      response.json().error.message,
      /the bucket 'no-such-bucket' does not exist\.\nFix: Check the bucket's/,
    );
  });

  test("that is refused later fails the call, and the response says which messages are missing", async () => {
    onChunk(2, 403, Number.POSITIVE_INFINITY);
    const response = await call(server, { task: "report" });
    assert.equal(response.status, 500);
    assert.equal(response.headers["dagster-pipes-chunk-count"], "1");
    assert.equal(response.headers["dagster-pipes-error"], undefined);
    const { code, message } = response.json().error;
    assert.equal(code, "messages_not_stored");
    const text = `5 Pipes messages could not be stored after chunk 1 of gs://${BUCKET}/${response.prefix}/: Cannot create`;
    assert.ok(message.startsWith(text), message);
  });

  test("in an outage is retried until the call's deadline, and no longer", async () => {
    onChunk(2, "stall", Number.POSITIVE_INFINITY);
    const started = performance.now();
    const response = await call(server, { task: "report" }, { headers: { "Dagster-Pipes-Timeout": "4" } });
    assert.ok(performance.now() - started < 10_000);
    assert.ok(proxy.faults > 1);
    assert.equal(response.json().error.code, "messages_not_stored");
  });

  test("in an outage that ends in time is stored", async () => {
    onChunk(2, 503, 6);
    const response = await call(server, { task: "report" }, { headers: { "Dagster-Pipes-Timeout": "60" } });
    assert.equal(response.status, 200);
    assert.equal(proxy.faults, 6);
  });

  test("of another call's object is a duplicate, also if a retry meets it", async () => {
    const prefix = newPrefix();
    await emulator.create(`${prefix}/1.json`, "\n");
    const response = await call(server, { task: "report" }, { prefix });
    assert.equal(response.status, 409);
    assert.deepEqual(await emulator.chunks(prefix), ["\n"]);
  });
});

describe("a sign of life", () => {
  test("is written while the function is silent", async () => {
    const response = await call(server, { task: "sleep", seconds: 1.5 });
    const chunks = await emulator.chunks(response.prefix);
    assert.ok(chunks.filter((chunk) => chunk === "\n").length >= 2);
    const [opened] = await emulator.messages(response.prefix);
    assert.equal(opened.params.extras.heartbeat_interval, 0.4);
  });
});

describe("cancelling", () => {
  for (const [task, event, text] of [
    ["a function that listens to the signal", { task: "sleep", seconds: 60 }, "AbortError: The operation was aborted"],
    ["a function that calls Pipes", { task: "waits" }, "PipesCancelledError: Dagster has terminated the run."],
    [
      "a function that ignores it",
      { task: "ignore", seconds: 60 },
      "PipesCancelledError: Dagster has terminated the run.",
    ],
  ]) {
    test(`ends ${task}`, { timeout: 60_000 }, async () => {
      const prefix = newPrefix();
      await emulator.create(`${prefix}/cancel`, "{}");
      const response = await call(server, event, { prefix });
      assert.equal(response.status, 500);
      const { exception } = await closedOf(response);
      assert.ok(exception.message.startsWith(text), exception.message);
    });
  }

  test("leaves a function time to clean up, and its outcome counts", { timeout: 60_000 }, async () => {
    const prefix = newPrefix();
    const shared = newPrefix();
    await emulator.create(`${shared}/cancel`, "{}");
    const response = await call(server, { task: "cleanup" }, { prefix, messages: { shared_prefix: shared } });
    assert.deepEqual(response.json(), { reason: "PipesCancelledError" });
    assert.equal((await closedOf(response)).exception, undefined);
  });

  test("works after polls that failed, which the log mentions once", { timeout: 60_000 }, async () => {
    const prefix = newPrefix();
    await emulator.create(`${prefix}/cancel`, "{}");
    let left = 1;
    proxy.plan = ({ url }) => (url.includes("/cancel") && left-- > 0 ? 403 : undefined);
    const response = await call(server, { task: "waits" }, { prefix });
    assert.equal(response.status, 500);
    assert.equal(proxy.faults, 1);
    assert.equal(server.output.split("cannot tell whether Dagster has terminated the run").length, 2);
  });
});

describe("the deadline", () => {
  const headers = { "Dagster-Pipes-Timeout": "3" };

  for (const event of [{ task: "ignore", seconds: 60 }, { task: "waits" }]) {
    test(`ends a function before the platform does: ${event.task}`, async () => {
      const started = performance.now();
      const response = await call(server, event, { headers });
      assert.ok(performance.now() - started < 3000);
      assert.equal(response.status, 500);
      const { exception } = await closedOf(response);
      assert.match(
        exception.message,
        /^PipesDeadlineExceededError: The function ran out of time after 3 s\.\nFix: Give/,
      );
    });
  }

  test("is the reason of the signal", async () => {
    const response = await call(server, { task: "cleanup" }, { headers });
    assert.deepEqual(response.json(), { reason: "PipesDeadlineExceededError" });
  });

  test("does not wait for a function whose buffer is full", async () => {
    onChunk(2, "stall", Number.POSITIVE_INFINITY);
    const response = await call(server, { task: "burst", lines: 5000, size: 1000 }, { headers });
    assert.equal(response.status, 500);
    assert.ok(proxy.faults > 0);
  });
});

describe("a burst", () => {
  test("of 20,000 lines is complete, in order, and in bounded memory", { timeout: 120_000 }, async () => {
    const response = await call(server, { task: "burst", lines: 20_000, size: 10_000 });
    assert.equal(response.status, 200);
    assert.ok(response.json().rss < 200 * 2 ** 20, `${response.json().rss / 2 ** 20} MiB`);
    const messages = await emulator.messages(response.prefix);
    const numbers = messages
      .filter(({ method }) => method === "log")
      .map(({ params }) => Number.parseInt(params.message, 10));
    assert.deepEqual(
      numbers,
      Array.from({ length: 20_000 }, (_, i) => i),
    );
  });

  test("of output that does not fit is dropped and counted, and print does not fail", async () => {
    onChunk(2, 503, 3);
    const messages = { include_stdio_in_messages: true };
    const response = await call(server, { task: "flood", lines: 20_000, size: 200 }, { messages });
    assert.equal(response.status, 204);
    assert.equal(proxy.faults, 3);
    const sent = await emulator.messages(response.prefix);
    const [warning, closed] = sent.slice(-2);
    assert.equal(warning.params.level, "WARNING");
    const dropped = Number(
      /^\[pipes\] ([\d,]+) pieces of the function's output were dropped/
        .exec(warning.params.message)[1]
        .replaceAll(",", ""),
    );
    assert.equal(sent.filter(({ method }) => method === "log_external_stream").length + dropped, 20_000);
    assert.equal(closed.method, "closed");
  });
});

test("the emulator's address must be a URL", async () => {
  const wrong = await startServer("behaviors.mjs", { storage: emulator.url.replace("http://", "") });
  try {
    const response = await call(wrong, { task: "report" });
    assert.equal(response.headers["dagster-pipes-error"], "storage_rejected");
    assert.match(response.json().error.message, new RegExp(`\nFix: Set it to '${emulator.url}'.$`));
    await until(() => wrong.output.includes("GCF_PIPES_BUCKETS is not set"));
  } finally {
    await wrong.stop();
  }
});

test("an emulator that does not run is named", async () => {
  const alone = await startServer("behaviors.mjs", { storage: "http://127.0.0.1:1" });
  try {
    const response = await call(alone, { task: "report" }, { headers: { "Dagster-Pipes-Timeout": "1" } });
    assert.equal(response.status, 503);
    assert.match(
      response.json().error.message,
      /the connection was refused\nFix: Start the emulator http:\/\/127\.0\.0\.1:1/,
    );
  } finally {
    await alone.stop();
  }
});
