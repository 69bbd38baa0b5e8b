// Tells Node.js the module format of each build: the package itself says "module".
import { writeFileSync } from "node:fs";

for (const [folder, type] of [
  ["esm", "module"],
  ["cjs", "commonjs"],
]) {
  writeFileSync(new URL(`../dist/${folder}/package.json`, import.meta.url), `${JSON.stringify({ type })}\n`);
}
