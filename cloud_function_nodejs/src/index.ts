/**
 * Dagster Pipes inside a Google Cloud Function in Node.js.
 *
 *     import { pipesFunction } from "gcf-pipes";
 *
 *     export const orders = pipesFunction(async (req, pipes) => {
 *       pipes.log.info("hello");
 *       await pipes.reportAssetMaterialization({ metadata: { rows: 3 } });
 *       return { rows: 3 };
 *     });
 */

export type { PipesAssetCheck, PipesContext, PipesMaterialization } from "./_context.js";
export type { PipesDataProvenance, PipesPartitionKeyRange, PipesTimeWindow } from "./_context_data.js";
export { currentPipes } from "./_current_request.js";
export { type PipesFunction, pipesFunction } from "./_entrypoint.js";
export {
  DagsterPipesError,
  GcfPipesError,
  PipesBucketNotFoundError,
  PipesCancelledError,
  PipesCredentialsError,
  PipesDeadlineExceededError,
  PipesDuplicateCallError,
  PipesMessagesNotStoredError,
  PipesObjectExistsError,
  PipesObjectTooLargeError,
  PipesRequestError,
  PipesStorageError,
  PipesStorageForbiddenError,
  PipesStorageRejectedError,
} from "./_errors.js";
export type { PipesLogger, PipesLogLevel } from "./_log.js";
export type {
  PipesMetadata,
  PipesMetadataRawValue,
  PipesMetadataType,
  PipesMetadataValue,
} from "./_metadata_values.js";
export type { PipesFunctionOptions } from "./_options.js";
