/** The request that the calling code serves. */

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

const storage = new AsyncLocalStorage<CurrentRequest>();

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
