/**
 * The request that the calling code serves.
 *
 * The package may be loaded twice in one process, as an ES module and as a CommonJS module. So what belongs to the
 * process is kept under a symbol that both share.
 */

import { AsyncLocalStorage } from "node:async_hooks";

import type { PipesContext } from "./_context.js";
import type { ForwardedOutput } from "./_stdio.js";
import type { LogFields } from "./_structured_logs.js";

/** A request while it is served. Its fields are known one after another. */
export interface CurrentRequest {
  logFields: LogFields;
  pipes?: PipesContext;
  output?: ForwardedOutput;
}

const KEY = Symbol.for("gcf-pipes/current-request");

interface Shared {
  [KEY]?: AsyncLocalStorage<CurrentRequest>;
}

const shared = globalThis as Shared;
shared[KEY] ??= new AsyncLocalStorage();
const storage = shared[KEY];

/** Make a request the current one for a function, and for all that it starts. */
export function withRequest<T>(request: CurrentRequest, run: () => T): T {
  return storage.run(request, run);
}

export function currentRequest(): CurrentRequest | undefined {
  return storage.getStore();
}

/**
 * Return the context of the request that the calling code serves, or undefined outside a request.
 *
 * It follows `await`, timers and callbacks, so several requests at once do not mix.
 */
export function currentPipes(): PipesContext | undefined {
  return currentRequest()?.pipes;
}
