/** The HTTP entry point: one request is one Pipes session. */

import type { Response as ExpressResponse, HttpFunction, Request } from "@google-cloud/functions-framework";

import { admit } from "./_admission.js";
import type { PipesContext } from "./_context.js";
import { withRequest } from "./_current_request.js";
import { GcfPipesError, PipesDuplicateCallError, PipesMessagesNotStoredError } from "./_errors.js";
import { describeWithEveryResponse, reach } from "./_every_response.js";
import { asLoggable, describeError } from "./_exceptions.js";
import { type PipesFunctionOptions, validatedOptions } from "./_options.js";
import { logOwn } from "./_own_logs.js";
import { Process } from "./_process.js";
import { CHUNK_COUNT_HEADER, ERROR_HEADER, type Usage } from "./_protocol.js";
import {
  completeResponse,
  type FunctionResponse,
  jsonResponse,
  sendResponse,
  shortResponse,
  statusException,
} from "./_response.js";
import type { Session } from "./_session.js";
import { logFields } from "./_structured_logs.js";

/** A function with a Pipes context. It returns its response: see `pipesFunction`. */
export type PipesFunction = (req: Request, pipes: PipesContext) => unknown;

/**
 * Make a function with a Pipes context the HTTP entry point of a cloud function.
 *
 * It is called once per request, after the call has claimed its session. Its messages are stored before the response is
 * sent. It returns its response: a `Response` with any status and headers, a string, bytes, any value for JSON, or
 * nothing for an empty 204. It must not use Express's response (`req.res`), which would be sent before the messages are
 * stored.
 *
 * Dagster learns the outcome after the function has returned or thrown. An error is reported to Dagster and thrown
 * again, so functions-framework logs it and returns a 500. So is an error in a timer or a promise that nobody handles.
 * A response that is not 2xx is reported as an exception and reaches the caller unchanged. Code that outlives the
 * function cannot send messages.
 *
 * When Dagster has terminated the run, and shortly before the function's timeout, `pipes.signal` is aborted and Pipes
 * calls fail. A function that does not stop within some seconds is left behind, and that error is its outcome.
 *
 * A call that is refused before the function runs gets the error's status, and `{"error": {"code": ..., "message":
 * ...}}` as its body. The function's log has the same text.
 *
 * If Dagster asks for it (`forward_logs` of the resource), what the function prints with `console` also reaches Dagster.
 *
 * @param run The function.
 * @param options How its messages are written.
 */
export function pipesFunction(run: PipesFunction, options: PipesFunctionOptions = {}): HttpFunction {
  if (typeof run !== "function") {
    throw new TypeError(`Expected a function with two parameters, \`(req, pipes) => ...\`, got ${typeof run}.`);
  }
  const own = new Process(validatedOptions(options));
  describeWithEveryResponse();
  return async (req, res) => {
    const arrived = reach(req);
    const measurement = own.meter.start(arrived);
    try {
      await handle(run, own, req, res, arrived, () => own.meter.usage(measurement));
    } catch (error) {
      throw asLoggable(error);
    } finally {
      own.meter.stop(measurement);
    }
  };
}

async function handle(
  run: PipesFunction,
  own: Process,
  req: Request,
  res: ExpressResponse,
  arrived: number,
  usage: () => Usage,
): Promise<void> {
  const execution = await own.describeRequest(req);
  const current = { logFields: logFields(execution) };
  await withRequest(current, async () => {
    let session: Session;
    try {
      session = await admit(own, req, execution, arrived);
    } catch (error) {
      if (!(error instanceof GcfPipesError)) throw error;
      return refuse(res, error);
    }
    const { pipes, output } = session;
    Object.assign(current, { logFields: logFields(execution, session.data), pipes, output });
    await respond(res, session, () => serve(run, req, session, usage));
  });
}

/** Run the function, and store its outcome. */
async function serve(
  run: PipesFunction,
  req: Request,
  session: Session,
  usage: () => Usage,
): Promise<FunctionResponse> {
  let response: FunctionResponse;
  try {
    response = await session.run(async () => completeResponse(await run(req, session.pipes)));
    checkUnsent(req);
  } catch (error) {
    await session.end({ exception: describeError(error) }, usage(), error);
    throw error;
  }
  const exception = statusException(response);
  await session.end({ exception, response: exception ? undefined : shortResponse(response) }, usage());
  return response;
}

/** Send the response of a function whose code has run. Its headers say so, also with the framework's own 500. */
async function respond(
  res: ExpressResponse,
  session: Session,
  serving: () => Promise<FunctionResponse>,
): Promise<void> {
  let response: FunctionResponse;
  try {
    response = await serving();
  } catch (error) {
    if (res.headersSent) throw error;
    res.setHeader(CHUNK_COUNT_HEADER, String(session.channel.chunkCount));
    if (!(error instanceof PipesMessagesNotStoredError)) throw error;
    logOwn("ERROR", `[pipes] messages of run ${session.pipes.runId} could not be stored`, error);
    return sendResponse(res, errorResponse(error));
  }
  sendResponse(res, response, { [CHUNK_COUNT_HEADER]: String(session.channel.chunkCount) });
}

function refuse(res: ExpressResponse, error: GcfPipesError): void {
  logOwn("ERROR", `[pipes] call refused: ${error.code}: ${error.message}`, error.cause);
  const headers: Record<string, string> = { [ERROR_HEADER]: error.code };
  // the chunks of a duplicate's session belong to another delivery
  if (!(error instanceof PipesDuplicateCallError)) headers[CHUNK_COUNT_HEADER] = "0";
  sendResponse(res, errorResponse(error), headers);
}

function errorResponse(error: GcfPipesError): FunctionResponse {
  return jsonResponse(error.status, { error: { code: error.code, message: error.message } });
}

/** Refuse to take a function for successful that has sent a response past the session. */
function checkUnsent(req: Request): void {
  if (!req.res?.headersSent) return;
  throw new TypeError(
    "Expected the function to return its response, but it has sent one itself with `req.res`.\n" +
      "Fix: Return a value, or `new Response(body, { status, headers })`.",
  );
}
