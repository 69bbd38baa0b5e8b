/**
 * The package for `import`.
 *
 * It is the CommonJS build: Node.js loads its files faster than ES modules, and a process has one copy of the package
 * however its parts load it.
 */

export * from "./index.js";
