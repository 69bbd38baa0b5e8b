/** Small pieces of the error texts, in the form in which the Python half writes them. */

/** Characters of the other process's text in an error text. */
export const MAX_SHOWN = 100;

/** Return a whole number with commas between its thousands. */
export function thousands(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Return a number and a noun, such as "1 Pipes message" or "3 Pipes messages". */
export function counted(count: number, noun: string): string {
  return `${thousands(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Return a text in single quotes, with escapes for what cannot be printed. */
export function quoted(text: string): string {
  const escaped = text
    .replaceAll("\\", "\\\\")
    .replaceAll("'", "\\'")
    .replaceAll("\n", "\\n")
    .replaceAll("\r", "\\r")
    .replaceAll("\t", "\\t")
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
  return `'${escaped}'`;
}

/** Return the start of a text, or the type of any other value, for an error text. */
export function excerpt(value: unknown): string {
  return typeof value === "string" ? quoted(value.slice(0, MAX_SHOWN)) : jsonType(value);
}

/** Name the type of a JSON value for an error text. */
export function jsonType(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "string") return value ? "a string" : "an empty string";
  return typeof value === "boolean" || typeof value === "number" ? `a ${typeof value}` : "an object";
}
