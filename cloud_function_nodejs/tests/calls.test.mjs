// What a call does: messages, responses, outcomes, refusals. Over HTTP, against an emulator.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { body, call, context, encode, newPrefix, post } from "./support/calls.mjs";
import { BUCKET, startEmulator } from "./support/emulator.mjs";
import { startServer } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

let emulator;
let server;

before(async () => {
  emulator = await startEmulator();
  const env = { GCF_PIPES_BUCKETS: BUCKET, GCF_PIPES_KEY_PREFIX: "dagster-pipes" };
  server = await startServer("behaviors.mjs", { env, storage: emulator.url });
});

after(async () => {
  await server?.stop();
  await emulator?.stop();
});

const closedOf = async ({ prefix }) => (await emulator.messages(prefix)).at(-1).params;
const methodsOf = (messages) => messages.map(({ method }) => method);

describe("messages", () => {
  test("arrive in the order of the calls, between opened and closed", async () => {
    const response = await call(server, { task: "report" });
    assert.equal(response.status, 200);
    assert.deepEqual(response.json(), { rows: 3 });
    const messages = await emulator.messages(response.prefix);
    const methods = ["opened", "log", "report_asset_materialization", "report_asset_check", "report_custom_message"];
    assert.deepEqual(methodsOf(messages), [...methods, "closed"]);
    const [, log, materialization, check, custom] = messages.map(({ params }) => params);
    assert.deepEqual(log, { message: "rows: 3", level: "INFO" });
    const metadata = { rows: { raw_value: 3, type: "__infer__" }, note: { raw_value: "**b**", type: "md" } };
    assert.deepEqual(materialization, { asset_key: "orders", data_version: null, metadata });
    const expected = { asset_key: "orders", check_name: "full", passed: true, metadata: null, severity: "WARN" };
    assert.deepEqual(check, expected);
    assert.deepEqual(custom, { payload: { own: [1, null] } });
  });

  test("the response says how many chunks there are", async () => {
    const { headers, prefix } = await call(server, { task: "report" });
    assert.equal(headers["dagster-pipes-chunk-count"], String((await emulator.chunks(prefix)).length));
    assert.equal(headers["dagster-pipes-protocol"], "1 forward_logs shared_cancel");
    assert.equal(headers["dagster-pipes-version"], "0.1.0");
  });

  test("opened has the facts, closed the usage and a short response", async () => {
    const response = await call(
      server,
      { task: "report" },
      { headers: { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` } },
    );
    const messages = await emulator.messages(response.prefix);
    const { extras } = messages[0].params;
    assert.match(extras.delivery_id, /^[0-9a-f]{32}$/);
    assert.equal(extras.heartbeat_interval, 10);
    assert.equal(extras.closes_with_request, true);
    assert.equal(extras.trace_id, "a".repeat(32));
    assert.equal(extras.protocol, "1 forward_logs shared_cancel");
    const { usage, response: own, exception } = messages.at(-1).params;
    assert.ok(usage.wall_seconds > 0 && usage.cpu_seconds > 0 && usage.peak_memory_bytes > 1e7);
    assert.deepEqual(own, { status: 200, content_type: "application/json; charset=utf-8", body: '{"rows":3}' });
    assert.equal(exception, undefined);
  });

  for (const [calls, message] of [
    [[["reportAssetMaterialization", { assetKey: "x" }]], "Invalid asset key. Expected one of `['orders']`, got `x`."],
    [[["reportAssetMaterialization"], ["reportAssetMaterialization"]], "Asset has already been materialized"],
    [[["reportAssetMaterialization", { metadata: { a: { b: 1 } } }]], "schema `{ rawValue: ..., type: ... }`"],
    [[["reportAssetMaterialization", { metadata: { a: { rawValue: 1, type: "no" } } }]], "`metadata.a.type`"],
    [[["reportAssetMaterialization", { dataVersion: 3 }]], "Expected `string`, got `number`"],
    [[["reportAssetCheck", { passed: true }]], "Invalid type for parameter `checkName`"],
    [[["reportAssetCheck", { checkName: "a", passed: 1 }]], "Invalid type for parameter `passed`"],
    [[["reportAssetCheck", { checkName: "a", passed: true, severity: "BAD" }]], "Expected one of `['WARN', 'ERROR']`"],
    [[["reportPartitionMaterialization", "a"]], "in a step with partitions, got a step without"],
  ]) {
    test(`refuses what Dagster would refuse: ${message}`, async () => {
      const response = await call(server, { task: "calls", calls });
      assert.equal(response.status, 500);
      const { exception } = await closedOf(response);
      assert.equal(exception.name, "DagsterPipesError");
      assert.ok(exception.message.includes(message), exception.message);
    });
  }

  test("needs the asset's key if there are several", async () => {
    const several = context({ asset_keys: ["a", "b"] });
    const calls = [["reportAssetMaterialization", { assetKey: "b" }], ["reportAssetMaterialization"]];
    const response = await call(server, { task: "calls", calls }, { context: several });
    assert.match((await closedOf(response)).exception.message, /Current step targets multiple assets/);
    assert.equal((await emulator.messages(response.prefix))[1].params.asset_key, "b");
  });

  test("partitions of a range are reported one by one, to a reader that takes them", async () => {
    const range = context({ partition_key_range: { start: "a", end: "c" } });
    const calls = ["a", "b", "b"].map((key) => ["reportPartitionMaterialization", key, { metadata: { n: 1 } }]);
    const messages = { partition_materializations: true };
    const response = await call(server, { task: "calls", calls }, { context: range, messages });
    assert.match((await closedOf(response)).exception.message, /one report of each partition, got 'b' twice/);
    const [, first] = await emulator.messages(response.prefix);
    const metadata = { n: { raw_value: 1, type: "__infer__" } };
    const report = { asset_key: "orders", partition: "a", metadata, data_version: null };
    assert.deepEqual(first.params.payload, { "gcf_pipes/partition_materialization": report });
    const refused = await call(server, { task: "calls", calls }, { context: range });
    assert.match((await closedOf(refused)).exception.message, /Expected a message reader that takes/);
  });
});

describe("the context", () => {
  const data = {
    asset_keys: ["orders"],
    code_version_by_asset_key: { orders: "2" },
    provenance_by_asset_key: {
      orders: { code_version: "1", input_data_versions: { raw: "v" }, is_user_provided: true },
    },
    partition_key: "2024-01-01",
    partition_key_range: { start: "2024-01-01", end: "2024-01-01" },
    partition_time_window: { start: "2024-01-01", end: "2024-01-02" },
    extras: { deep: { list: [1, "ü", null] } },
  };

  for (const [name, value] of Object.entries({
    assetKey: "orders",
    assetKeys: ["orders"],
    codeVersion: "2",
    codeVersionByAssetKey: data.code_version_by_asset_key,
    provenance: data.provenance_by_asset_key.orders,
    provenanceByAssetKey: data.provenance_by_asset_key,
    partitionKey: "2024-01-01",
    partitionKeyRange: data.partition_key_range,
    partitionTimeWindow: data.partition_time_window,
    runId: "run-1",
    jobName: "job",
    retryNumber: 0,
    extras: data.extras,
    isAssetStep: true,
    isPartitionStep: true,
    cancelled: false,
  })) {
    test(`has ${name}`, async () => {
      const response = await call(server, { task: "get", name }, { context: context(data) });
      assert.deepEqual(response.json(), { value });
    });
  }

  test("of an op has no assets and partitions", async () => {
    const op = { data: { run_id: "r", retry_number: 1, extras: null } };
    for (const [name, text] of [
      ["assetKey", "`asset_key` is undefined. Current step does not target an asset."],
      ["partitionKey", "`partition_key` is undefined. Current step does not target any partitions."],
    ]) {
      const response = await call(server, { task: "get", name }, { context: op });
      assert.ok((await closedOf(response)).exception.message.includes(text));
    }
  });

  test("is read from the bucket if it is large", async () => {
    const key = `${newPrefix()}/context.json`;
    const large = context({ extras: { text: "x".repeat(3_000_000) } }).data;
    await emulator.create(key, JSON.stringify(large));
    const response = await call(server, { task: "get", name: "runId" }, { context: { bucket: BUCKET, key } });
    assert.deepEqual(response.json(), { value: "run-1" });
  });

  test("errors of the package have its classes", async () => {
    const response = await call(server, { task: "kind" });
    assert.deepEqual(response.json(), {
      isOurs: true,
      message: "Extra `missing` is undefined. Extras must be provided by user.",
    });
  });
});

describe("the response", () => {
  test("is what the function returns", async () => {
    assert.equal((await call(server, { task: "nothing" })).status, 204);
    const text = await call(server, { task: "text" });
    assert.equal(text.headers["content-type"], "text/html; charset=utf-8");
    assert.equal(text.text, "<b>text</b>");
    const bytes = await call(server, { task: "bytes" });
    assert.equal(bytes.headers["content-type"], "application/octet-stream");
    assert.equal((await closedOf(bytes)).response, undefined);
  });

  test("of another status than 2xx is reported as an exception, and arrives", async () => {
    const headers = { "x-own": "1", "dagster-pipes-error": "copied", "dagster-pipes-chunk-count": "99" };
    const response = await call(server, { task: "response", status: 422, body: "no", headers });
    assert.equal(response.status, 422);
    assert.equal(response.text, "no");
    assert.equal(response.headers["x-own"], "1");
    assert.equal(response.headers["dagster-pipes-error"], undefined);
    assert.equal(response.headers["dagster-pipes-chunk-count"], "2");
    const { exception } = await closedOf(response);
    const text = "PipesResponseStatusError: The function returned HTTP 422, expected 2xx. Its body: no\n";
    assert.equal(exception.message, text);
    assert.equal(exception.name, "PipesResponseStatusError");
  });

  test("that JSON cannot represent fails the session", async () => {
    const response = await call(server, { task: "cycle" });
    assert.equal(response.status, 500);
    assert.equal((await closedOf(response)).exception.name, "TypeError");
  });

  test("that the function sends itself fails the session", async () => {
    const response = await call(server, { task: "express" });
    const exception = await until(async () => (await closedOf(response)).exception);
    assert.match(exception.message, /has sent one itself with `req.res`/);
  });
});

describe("an error", () => {
  test("is reported with its stack and its causes, and becomes a 500", async () => {
    const response = await call(server, { task: "fail" });
    assert.equal(response.status, 500);
    assert.equal(response.headers["dagster-pipes-chunk-count"], "2");
    assert.equal(response.headers["dagster-pipes-error"], undefined);
    const { exception } = await closedOf(response);
    assert.equal(exception.message, "RangeError: wrong\n");
    assert.equal(exception.name, "RangeError");
    assert.match(exception.stack[0], /^ {4}at .*behaviors\.mjs:\d+:\d+\)?\n$/);
    assert.equal(exception.cause.message, "TypeError: deeper\n");
    assert.equal(exception.cause.cause.message, "'a text', which is not an Error\n");
  });

  test("with others inside names them", async () => {
    const { exception } = await closedOf(await call(server, { task: "aggregate" }));
    assert.equal(exception.message, "AggregateError: both failed\n  Error: first\n  Error: second\n");
  });

  test("has bounds: 20 causes, and 32 KiB of each text", async () => {
    let { exception } = await closedOf(await call(server, { task: "chain", length: 900 }));
    let count = 1;
    for (; exception.cause; exception = exception.cause) count++;
    assert.equal(count, 20);
    assert.match(exception.message, /^Error: 880\n880 earlier exceptions left out. See the function's log.\n$/);
    const large = (await closedOf(await call(server, { task: "large" }))).exception.message;
    assert.ok(large.length < 33_000 && large.includes("characters left out]"));
  });

  test("that causes itself is described once", async () => {
    const { exception } = await closedOf(await call(server, { task: "circle" }));
    assert.equal(exception.cause.message, "Error: second\n");
    assert.equal(exception.cause.cause, null);
  });

  for (const what of ["null", "undefined", "text", "symbol", "object"]) {
    test(`may be no Error: ${what}`, async () => {
      const response = await call(server, { task: "throws", what });
      assert.equal(response.status, 500);
      assert.match((await closedOf(response)).exception.message, /, which is not an Error\n$/);
    });
  }

  test("that cannot be described is still an outcome", async () => {
    const response = await call(server, { task: "hostile" });
    assert.equal(response.status, 500);
    assert.match((await closedOf(response)).exception.message, /cannot be described because of Error/);
  });

  for (const [task, text] of [
    ["timer", "thrown in a timer"],
    ["unhandled", "nobody handles this"],
    ["forgotten", "Invalid asset key"],
  ]) {
    test(`that nobody handles ends the function: ${task}`, async () => {
      const response = await call(server, { task });
      assert.equal(response.status, 500);
      assert.equal(response.headers["dagster-pipes-chunk-count"], "2");
      assert.ok((await closedOf(response)).exception.message.includes(text));
    });
  }
});

describe("after the end", () => {
  test("messages are refused, and nothing is written behind closed", async () => {
    const response = await call(server, { task: "late" });
    await until(() => server.output.includes("late call: Cannot send message after pipes context is closed."));
    const messages = await emulator.messages(response.prefix);
    assert.deepEqual(methodsOf(messages), ["opened", "closed"]);
  });

  test("the server still serves", async () => {
    assert.equal((await call(server, { task: "report" })).status, 200);
  });
});

describe("many requests at once", () => {
  test("do not mix", async () => {
    const names = Array.from({ length: 20 }, (_, i) => `call-${i}`);
    const messages = { include_stdio_in_messages: true };
    const responses = await Promise.all(names.map((name) => call(server, { task: "isolated", name }, { messages })));
    for (const [i, response] of responses.entries()) {
      assert.deepEqual(response.json(), { same: true });
      const sent = await emulator.messages(response.prefix);
      const logs = sent.filter(({ method }) => method === "log").map(({ params }) => params.message);
      assert.deepEqual(
        logs,
        Array.from({ length: 20 }, (_, line) => `${names[i]} ${line}`),
      );
      const printed = sent.filter(({ method }) => method === "log_external_stream").map(({ params }) => params.text);
      assert.equal(printed.join(""), `printed by ${names[i]}\n`.repeat(20));
      assert.equal(sent.at(-1).params.usage.shared, true);
    }
  });

  test("of the same call run it once", async () => {
    const prefix = newPrefix();
    const deliveries = Array.from({ length: 8 }, () => call(server, { task: "ignore", seconds: 0.2 }, { prefix }));
    const statuses = (await Promise.all(deliveries)).map(({ status }) => status).sort();
    assert.deepEqual(statuses, [204, ...Array(7).fill(409)]);
    assert.deepEqual(methodsOf(await emulator.messages(prefix)), ["opened", "closed"]);
    const late = await call(server, { task: "report" }, { prefix });
    assert.equal(late.status, 409);
    assert.equal(late.headers["dagster-pipes-error"], "duplicate_call");
    assert.equal(late.headers["dagster-pipes-chunk-count"], undefined);
    const text = `Another delivery of this call has claimed the session at gs://${BUCKET}/${prefix}/. This one does not run the function's code again.`;
    assert.deepEqual(late.json(), { error: { code: "duplicate_call", message: text } });
  });
});

describe("output", () => {
  const messages = { include_stdio_in_messages: true };
  const streams = (sent) =>
    sent.filter(({ method }) => method === "log_external_stream").map(({ params }) => [params.stream, params.text]);

  test("reaches Dagster if it asks for it", async () => {
    const { prefix } = await call(server, { task: "print" }, { messages });
    const printed = [
      ["stdout", "to stdout: é\n"],
      ["stderr", "to stderr\n"],
      ["stdout", "no end"],
    ];
    assert.deepEqual(streams(await emulator.messages(prefix)), printed);
    assert.match(server.output, /to stdout: é/);
  });

  test("does not reach it otherwise", async () => {
    const { prefix } = await call(server, { task: "print" });
    assert.deepEqual(streams(await emulator.messages(prefix)), []);
  });

  test("ends with the stack of the error", async () => {
    const { prefix } = await call(server, { task: "printAndFail" }, { messages });
    const [[, before], [stream, stack]] = streams(await emulator.messages(prefix));
    assert.equal(before, "before\n");
    assert.equal(stream, "stderr");
    assert.match(stack, /^Error: after printing\n {4}at /);
  });
});

describe("a call is refused before the function's code runs", () => {
  const refused = async (data, { headers = {}, method, status = 400, code = "bad_request" } = {}) => {
    const response = await post(server.url, data, headers, method);
    assert.equal(response.status, status, response.text);
    assert.equal(response.headers["dagster-pipes-error"], code);
    assert.equal(response.headers["dagster-pipes-chunk-count"], "0");
    assert.equal(response.headers["dagster-pipes-protocol"], "1 forward_logs shared_cancel");
    return response.text;
  };
  const messageOf = async (...args) => JSON.parse(await refused(...args)).error.message;
  const event = (changes) => JSON.stringify({ ...JSON.parse(body(newPrefix(), { task: "report" })), ...changes });
  const withMessages = (params) => event({ DAGSTER_PIPES_MESSAGES: encode(params) });
  const withContext = (params) => event({ DAGSTER_PIPES_CONTEXT: encode(params) });
  const prefix = newPrefix();

  test("by its method", async () => {
    assert.equal(await messageOf(undefined, { method: "GET" }), "Expected the HTTP method POST, got 'GET'.");
  });

  test("by its body", async () => {
    for (const data of ["", "table=orders", '{"a":', "\xff"]) await refused(data);
    assert.equal(await messageOf("[1]"), "Expected the request body to be a JSON object, got an array.");
    const plain = { "Content-Type": "text/plain" };
    assert.match(await messageOf("{", { headers: plain }), /Expected the request body to be a JSON object in UTF-8/);
    const many = JSON.stringify(
      Array(500_001)
        .fill(0)
        .map(() => [0]),
    );
    assert.match(await messageOf(many), /it has more than 1,000,000 opening brackets, commas, colons and strings/);
  });

  for (const [name, data, text] of [
    ["no keys", "{}", "Expected the request body to have the Dagster Pipes key 'DAGSTER_PIPES_MESSAGES', got no keys."],
    ["other keys", '{"b":1,"a":2}', "got ['a', 'b'].\nFix: Call this function from Dagster"],
    ["not a string", () => event({ DAGSTER_PIPES_MESSAGES: 1 }), "to be a string, got a number."],
    ["not base64", () => event({ DAGSTER_PIPES_MESSAGES: "%%%" }), "but it cannot be decoded: it is not base64"],
    ["not zlib", () => event({ DAGSTER_PIPES_MESSAGES: "bm90IHpsaWI=" }), "but it cannot be decoded"],
    ["a bomb", () => withMessages(" ".repeat(8193)), "it is larger than 8,192 bytes"],
    ["a larger bomb", () => withContext(" ".repeat(2 ** 21 + 1)), "it is larger than 2,097,152 bytes"],
    [
      "no bucket",
      () => withMessages({ key_prefix: prefix }),
      "Expected 'bucket' in the messages params to be a string",
    ],
    ["no name of a bucket", () => withMessages({ bucket: "A/b", key_prefix: prefix }), "to be the name of a bucket."],
    ["another bucket", () => withMessages({ bucket: "other", key_prefix: prefix }), "that this function accepts"],
    ["another prefix", () => withMessages({ bucket: BUCKET, key_prefix: "a/b" }), "below the prefix that this"],
    ["dots", () => withMessages({ bucket: BUCKET, key_prefix: "dagster-pipes/../a" }), "plain names with single"],
    ["a long prefix", () => withMessages({ bucket: BUCKET, key_prefix: "a".repeat(1001) }), "at most 1000 bytes"],
    ["another shared prefix", () => withMessages({ bucket: BUCKET, key_prefix: prefix, shared_prefix: "x" }), "below"],
    ["a wrong flag", () => withMessages({ bucket: BUCKET, include_stdio_in_messages: 1 }), "to be a boolean or null"],
    ["another Pipes", () => withContext({ __dagster_pipes_version: "9" }), "Expected version '0.1' of the Pipes"],
    ["no context", () => withContext({ data: 1 }), "Expected the Pipes context to be an object, got a number."],
    ["no run", () => withContext({ data: { retry_number: 0, extras: {} } }), "Expected 'run_id' in the Pipes context"],
    [
      "a wrong context",
      () => withContext(context({ partition_key_range: { start: 1 } })),
      "Expected 'partition_key_range.start' in the Pipes context to be a string, got a number.",
    ],
    [
      "no such context",
      () => withContext({ bucket: BUCKET, key: `${prefix}/context.json` }),
      "there is no such object",
    ],
    [
      "a context elsewhere",
      () => withContext({ bucket: BUCKET, key: "secret" }),
      "below the prefix that this function",
    ],
  ]) {
    test(`by its params: ${name}`, async () => {
      const message = await messageOf(typeof data === "string" ? data : data());
      assert.ok(message.includes(text), message);
    });
  }

  test("by what Dagster's side needs", async () => {
    const data = () => event({});
    const version = { "Dagster-Pipes-Version": "9.9.9" };
    const newer = await messageOf(data(), { headers: { "Dagster-Pipes-Protocol": "2", ...version } });
    assert.match(
      newer,
      /got 1 from the function's gcf-pipes 0\.1\.0 for Node\.js and 2 from dagster-gcf-pipes 9\.9\.9/,
    );
    assert.match(newer, /package\.json to 9\.9\.9/);
    const channel = await messageOf(data(), { headers: { "Dagster-Pipes-Protocol": "1 response_messages" } });
    assert.match(channel, /to announce `response_messages`, which dagster-gcf-pipes uses, but it does not/);
    assert.match(await messageOf(data(), { headers: { "Dagster-Pipes-Protocol": "x" } }), /to be like '1 forward_logs/);
    assert.match(await messageOf(data(), { headers: { "Dagster-Pipes-Timeout": "-1" } }), /to be whole seconds/);
    assert.match(
      await messageOf(data(), { headers: { "Dagster-Pipes-Storage": "cloud" } }),
      /Dagster uses Cloud Storage/,
    );
  });

  test("and other responses of the process have the headers too", async () => {
    const response = await post(`${server.url}robots.txt`, undefined, {}, "GET");
    assert.equal(response.status, 404);
    assert.equal(response.headers["dagster-pipes-protocol"], "1 forward_logs shared_cancel");
    assert.equal(response.headers["dagster-pipes-error"], undefined);
  });
});
