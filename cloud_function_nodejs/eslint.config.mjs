import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

const UNUSED = { argsIgnorePattern: "^_", varsIgnorePattern: "^_" };
const GLOBALS = [
  "Buffer",
  "URL",
  "URLSearchParams",
  "Response",
  "console",
  "fetch",
  "performance",
  "process",
  "setTimeout",
];

export default defineConfig(
  { ignores: ["dist/"] },
  js.configs.recommended,
  {
    files: ["src/**"],
    extends: [tseslint.configs.recommended],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      "@typescript-eslint/no-unused-vars": ["error", UNUSED],
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
    },
  },
  {
    files: ["**/*.mjs"],
    languageOptions: { globals: Object.fromEntries([...GLOBALS, "AbortController"].map((name) => [name, "readonly"])) },
    rules: { "no-unused-vars": ["error", UNUSED] },
  },
);
