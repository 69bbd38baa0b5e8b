// What is in the package, and that both ways to load it give one copy.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import * as imported from "gcf-pipes";

const require = createRequire(import.meta.url);
const ROOT = fileURLToPath(new URL("..", import.meta.url));

test("import and require give the same names and the same classes", () => {
  const required = require("gcf-pipes");
  const names = Object.keys(required);
  for (const name of Object.keys(imported)) assert.ok(names.includes(name) || name === "__esModule", name);
  for (const name of names) assert.equal(imported[name], required[name]);
  assert.ok(names.includes("pipesFunction") && names.includes("currentPipes"));
});

test("the version is the one of package.json", () => {
  assert.equal(require("../dist/_protocol.js").VERSION, require("gcf-pipes/package.json").version);
});

test("the archive has the build, the licence and the README, and nothing else", () => {
  const output = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  const [{ files }] = JSON.parse(output);
  const others = files.map(({ path }) => path).filter((path) => !path.startsWith("dist/"));
  assert.deepEqual(others.sort(), ["LICENSE", "README.md", "package.json"]);
});

test("the lock names no registry but npm's own", () => {
  const { packages } = require("../package-lock.json");
  const urls = Object.values(packages).flatMap(({ resolved }) => resolved ?? []);
  assert.deepEqual(
    urls.filter((url) => !url.startsWith("https://registry.npmjs.org/")),
    [],
  );
});

test("outside a request there is no context", () => {
  assert.equal(imported.currentPipes(), undefined);
});

for (const [options, text] of [
  [{ flushInterval: 6 }, "Expected `flushInterval` to be 0 to 5 s, got 6."],
  [{ maxChunkBytes: 0 }, "Expected `maxChunkBytes` to be 1 to 67,108,864, got 0."],
  [{ maxBufferBytes: Number.NaN }, "Expected `maxBufferBytes` to be 1 or more, got NaN."],
  [{ uploadTimeout: 0 }, "Expected `uploadTimeout` to be more than 0 s and at most 3600 s, got 0."],
]) {
  test(`refuses options: ${text}`, () => {
    assert.throws(() => imported.pipesFunction(() => {}, options), new RangeError(text));
  });
}

test("refuses what is no function", () => {
  assert.throws(() => imported.pipesFunction({}), /Expected a function with two parameters/);
});

for (const [variable, value, text] of [
  ["GCF_PIPES_BUCKETS", "gs://a", "Expected GCF_PIPES_BUCKETS to be bucket names, separated by commas, got 'gs://a'."],
  ["GCF_PIPES_KEY_PREFIX", "a//b", "Expected GCF_PIPES_KEY_PREFIX to be plain names with single slashes between them"],
]) {
  test(`refuses the environment: ${variable}`, () => {
    process.env[variable] = value;
    try {
      assert.throws(() => imported.pipesFunction(() => {}), { name: "RangeError", message: new RegExp(`^${text}`) });
    } finally {
      delete process.env[variable];
    }
  });
}
