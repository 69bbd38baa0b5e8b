/** How halves of different versions work together, or say which one to upgrade. */

import { CAPABILITIES, PROTOCOL, PROTOCOL_HEADER, VERSION, VERSION_HEADER } from "./_protocol.js";

const UPGRADE_DAGSTER = "Fix: Upgrade Dagster's side: `pip install --upgrade dagster-gcf-pipes` where Dagster runs.";
const VERSION_FORM = /^[0-9]{1,9}\.[0-9]{1,9}[0-9A-Za-z.+-]{0,40}$/;
const PROTOCOL_FORM = /^([1-9][0-9]{0,3})((?: [a-z][a-z0-9_]{0,39}){0,20})$/;

/** What Dagster's side says about itself: its protocol, the capabilities that the call needs, and its version. */
export interface DagsterHalf {
  protocol: number;
  capabilities: string[];
  version: string | undefined;
}

/** The version of our protocol and our capabilities, as the header has them. */
export const PROTOCOL_TEXT = [PROTOCOL, ...[...CAPABILITIES].sort()].join(" ");

/** The headers of each response. */
export const OUR_HEADERS: Readonly<Record<string, string>> = {
  [PROTOCOL_HEADER]: PROTOCOL_TEXT,
  [VERSION_HEADER]: VERSION,
};

/** Return Dagster's half, or undefined if the header has another form. */
export function parseHalf(protocol: string, version: string | undefined): DagsterHalf | undefined {
  const match = PROTOCOL_FORM.exec(protocol);
  if (!match) return undefined;
  return {
    protocol: Number(match[1]),
    capabilities: (match[2] ?? "").split(" ").filter(Boolean),
    version: version && VERSION_FORM.test(version) ? version : undefined,
  };
}

/** Return why the halves cannot work together, and which one to upgrade, or an empty text. */
export function problemWith(dagster: DagsterHalf): string {
  if (dagster.protocol !== PROTOCOL) {
    return (
      `Expected both sides to have one version of the wire protocol, got ${PROTOCOL} from ` +
      `${describeFunction()} and ${dagster.protocol} from ${describeDagster(dagster)}.\n` +
      `${PROTOCOL < dagster.protocol ? upgradeFunction(dagster) : UPGRADE_DAGSTER}`
    );
  }
  const missing = dagster.capabilities.filter((each) => !(CAPABILITIES as readonly string[]).includes(each));
  if (!missing.length) return "";
  const names = [...new Set(missing)].sort().map((name) => `\`${name}\``);
  return (
    `Expected ${describeFunction()} to announce ${names.join(", ")}, which ${describeDagster(dagster)} uses, but it ` +
    `does not.\n${upgradeFunction(dagster)} Its entry point has to be wrapped by \`pipesFunction\` of \`gcf-pipes\`.`
  );
}

function upgradeFunction(dagster: DagsterHalf): string {
  const version = dagster.version ?? "the version of Dagster's side";
  return `Fix: Upgrade the function: set \`gcf-pipes\` in its package.json to ${version}, and deploy it again.`;
}

function describeFunction(): string {
  return `the function's gcf-pipes ${VERSION} for Node.js`;
}

function describeDagster(dagster: DagsterHalf): string {
  return `dagster-gcf-pipes ${dagster.version ?? ""}`.trimEnd();
}
