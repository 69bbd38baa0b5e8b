// What differs on Google Cloud: tokens and facts of the metadata server, and structured log lines.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";

import { call, newPrefix } from "./support/calls.mjs";
import { BUCKET, startEmulator } from "./support/emulator.mjs";
import { startServer } from "./support/server.mjs";

const require = createRequire(import.meta.url);
const { Storage, ObjectStore } = require("../dist/_storage.js");
const { Tokens } = require("../dist/_tokens.js");

/** A metadata server with the responses of Google's, and what was asked of it. */
async function startMetadataServer() {
  const asked = [];
  const values = {
    "instance/id": "instance-1",
    "project/project-id": "project-1",
    "instance/region": "projects/1/regions/europe-west1",
  };
  const server = http.createServer((request, response) => {
    const path = request.url.replace("/computeMetadata/v1/", "");
    asked.push(path);
    const token = { access_token: `token-${asked.length}`, expires_in: 3600, token_type: "Bearer" };
    const isToken = path.endsWith("/token");
    response.statusCode = request.headers["metadata-flavor"] === "Google" && (isToken || values[path]) ? 200 : 404;
    response.end(isToken ? JSON.stringify(token) : values[path]);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, asked, host: `127.0.0.1:${server.address().port}` };
}

describe("tokens", () => {
  const source = (...tokens) => {
    const given = [...tokens];
    return new Tokens(async () => given.shift());
  };
  const lasting = (value, seconds) => ({ value, endsAt: performance.now() + seconds * 1000 });
  const { signal } = new AbortController();

  test("are used until shortly before their end", async () => {
    const tokens = source(lasting("a", 3600), lasting("b", 3600));
    assert.deepEqual([await tokens.get(signal), await tokens.get(signal)], ["a", "a"]);
    const short = source(lasting("a", 200), lasting("b", 3600));
    assert.deepEqual([await short.get(signal), await short.get(signal)], ["a", "b"]);
  });

  test("are asked for once by many requests", async () => {
    const tokens = source(lasting("a", 3600), lasting("b", 3600));
    const got = await Promise.all([tokens.get(signal), tokens.get(signal), tokens.get(signal)]);
    assert.deepEqual(got, ["a", "a", "a"]);
  });

  test("that Cloud Storage refuses are replaced once", async () => {
    const seen = [];
    const server = http.createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.statusCode = request.headers.authorization === "Bearer good" ? 200 : 401;
      response.end(response.statusCode === 200 ? "{}" : '{"error":{"message":"invalid token"}}');
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${server.address().port}`;
    try {
      const revoked = new ObjectStore(new Storage(source(lasting("old", 3600), lasting("good", 3600)), url), "bucket");
      await revoked.create("a/1.json", Buffer.from("x"), 5);
      assert.deepEqual(seen, ["Bearer old", "Bearer good"]);
      const refused = new ObjectStore(new Storage(source(lasting("a", 3600), lasting("b", 3600)), url), "bucket");
      await assert.rejects(refused.create("a/1.json", Buffer.from("x"), 5), { code: "storage_forbidden" });
      assert.equal(seen.length, 4);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

describe("on Cloud Run", () => {
  let emulator;
  let metadata;
  let server;

  before(async () => {
    emulator = await startEmulator();
    metadata = await startMetadataServer();
    const variables = { K_SERVICE: "orders", K_REVISION: "orders-1", GCE_METADATA_HOST: metadata.host };
    const env = { ...variables, GCF_PIPES_BUCKETS: BUCKET, LOG_EXECUTION_ID: "true" };
    server = await startServer("behaviors.mjs", { env, storage: emulator.url });
  });

  after(async () => {
    await server?.stop();
    metadata?.server.close();
    await emulator?.stop();
  });

  test("opened has the facts of the platform", async () => {
    const { prefix } = await call(server, { task: "report" }, { headers: { "Function-Execution-Id": "abc" } });
    const [{ params }] = await emulator.messages(prefix);
    const { service, revision, project_id, instance_id, region, execution_id, cold_start } = params.extras;
    assert.deepEqual([service, revision, project_id, instance_id], ["orders", "orders-1", "project-1", "instance-1"]);
    assert.deepEqual([region, execution_id, cold_start], ["europe-west1", "abc", true]);
    const second = await call(server, { task: "report" });
    assert.equal((await emulator.messages(second.prefix))[0].params.extras.cold_start, false);
  });

  test("lines of pipes.log are structured, labelled, and not sent twice", async () => {
    const traceparent = `00-${"c".repeat(32)}-${"d".repeat(16)}-01`;
    const messages = { include_stdio_in_messages: true };
    const options = { headers: { traceparent, "Function-Execution-Id": "xyz" }, prefix: newPrefix(), messages };
    await call(server, { task: "report" }, options);
    const lines = server.output.split("\n").filter((line) => line.startsWith("{") && line.includes('"xyz"'));
    const entry = lines.map((line) => JSON.parse(line)).find(({ message }) => message === "rows: 3");
    assert.equal(entry.severity, "INFO");
    assert.equal(entry["logging.googleapis.com/trace"], `projects/project-1/traces/${"c".repeat(32)}`);
    const labels = { execution_id: "xyz", dagster_run_id: "run-1", dagster_job: "job", dagster_asset: "orders" };
    assert.deepEqual(entry["logging.googleapis.com/labels"], labels);
    const sent = await emulator.messages(options.prefix);
    assert.equal(sent.filter(({ method }) => method === "log_external_stream").length, 0);
  });

  test("output reaches Dagster as it was printed", async () => {
    const { prefix } = await call(server, { task: "print" }, { messages: { include_stdio_in_messages: true } });
    const sent = await emulator.messages(prefix);
    const printed = sent.filter(({ method }) => method === "log_external_stream").map(({ params }) => params.text);
    assert.deepEqual(printed, ["to stdout: é\n", "to stderr\n", "no end"]);
  });

  test("a function without an emulator asks the metadata server for a token", async () => {
    const env = { K_SERVICE: "orders", GCE_METADATA_HOST: metadata.host };
    const before = metadata.asked.length;
    const cloud = await startServer("behaviors.mjs", { env });
    try {
      await call(cloud, {}, { messages: { bucket: "A" } }); // refused, and nothing is sent to Cloud Storage
      assert.ok(metadata.asked.slice(before).includes("instance/service-accounts/default/token"));
    } finally {
      await cloud.stop();
    }
  });
});

describe("elsewhere", () => {
  test("a call without credentials says what to do", async () => {
    const server = await startServer("behaviors.mjs", { env: { GOOGLE_APPLICATION_CREDENTIALS: "/no/such/file" } });
    try {
      const response = await call(server, { task: "report" }, { headers: { "Dagster-Pipes-Timeout": "5" } });
      assert.equal(response.headers["dagster-pipes-error"], "storage_credentials");
      assert.match(response.json().error.message, /^Cannot create gs:.*there are no credentials that Google accepts\./);
      assert.match(response.json().error.message, /\nFix: Deploy the function with a service account/);
    } finally {
      await server.stop();
    }
  });
});
