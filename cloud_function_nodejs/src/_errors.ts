/**
 * The errors of the function side, one tree, with the names, codes and statuses of the Python half.
 *
 *     DagsterPipesError                         a Pipes call that Dagster would not accept
 *     └── GcfPipesError
 *         ├── PipesRequestError                 400 bad_request: the request is not a valid call from Dagster
 *         ├── PipesDuplicateCallError           409 duplicate_call: another delivery of this call has claimed the session
 *         ├── PipesCancelledError               Dagster has terminated the run
 *         ├── PipesDeadlineExceededError        the function is close to its timeout
 *         └── PipesStorageError                 503 storage_unavailable: Cloud Storage cannot be reached or fails
 *             ├── PipesBucketNotFoundError      400 bucket_not_found
 *             ├── PipesStorageForbiddenError    500 storage_forbidden: the function's identity lacks a permission
 *             ├── PipesCredentialsError         500 storage_credentials: there are no credentials, or Google refuses them
 *             ├── PipesStorageRejectedError     500 storage_rejected: Cloud Storage rejects the request
 *             ├── PipesObjectExistsError        500 object_exists: an object that is created once exists already
 *             ├── PipesObjectTooLargeError      400 object_too_large: an object is larger than its limit
 *             └── PipesMessagesNotStoredError   500 messages_not_stored: messages of this session are missing
 */

/** A Pipes call that Dagster would not accept, or that comes too late. */
export class DagsterPipesError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Base of all errors that the runtime itself finds. */
export class GcfPipesError extends DagsterPipesError {
  /** The HTTP status of the runtime's response. */
  readonly status: number = 500;
  /** A stable, machine-readable name of the error. */
  readonly code: string = "internal";
}

/** The request is not a valid call from Dagster: not JSON, no Pipes keys, or a param of the wrong type. */
export class PipesRequestError extends GcfPipesError {
  override readonly status = 400;
  override readonly code = "bad_request";
}

/** Another delivery of the same call has claimed the session and runs, or has run, the user's code. */
export class PipesDuplicateCallError extends GcfPipesError {
  override readonly status = 409;
  override readonly code = "duplicate_call";
}

/** Dagster has terminated the run. It is the reason of `pipes.signal`. */
export class PipesCancelledError extends GcfPipesError {
  override readonly code = "cancelled";
}

/** The function is close to its timeout. It is the reason of `pipes.signal`. */
export class PipesDeadlineExceededError extends GcfPipesError {
  override readonly code = "deadline_exceeded";
}

/** Cloud Storage could not be reached, or returned an error that has no subclass here. */
export class PipesStorageError extends GcfPipesError {
  override readonly status: number = 503;
  override readonly code: string = "storage_unavailable";
  /** Whether the same operation may succeed later. */
  readonly transient: boolean = true;
}

/** The bucket does not exist. */
export class PipesBucketNotFoundError extends PipesStorageError {
  override readonly status = 400;
  override readonly code = "bucket_not_found";
  override readonly transient = false;
}

/** The identity in use lacks a permission on the bucket or the object. */
export class PipesStorageForbiddenError extends PipesStorageError {
  override readonly status = 500;
  override readonly code = "storage_forbidden";
  override readonly transient = false;
}

/** No credentials for Cloud Storage were found, or Google refuses them. */
export class PipesCredentialsError extends PipesStorageError {
  override readonly status = 500;
  override readonly code = "storage_credentials";
  override readonly transient = false;
}

/** Cloud Storage rejects the request, or another server responds in its place. A retry cannot help. */
export class PipesStorageRejectedError extends PipesStorageError {
  override readonly status = 500;
  override readonly code = "storage_rejected";
  override readonly transient = false;
}

/** An object that may be created only once exists already, with different or unknown content. */
export class PipesObjectExistsError extends PipesStorageError {
  override readonly status = 500;
  override readonly code = "object_exists";
  override readonly transient = false;
}

/** An object is larger than its limit. */
export class PipesObjectTooLargeError extends PipesStorageError {
  override readonly status = 400;
  override readonly code = "object_too_large";
  override readonly transient = false;
}

/** Messages of this session could not be stored. The text says how many, and why. */
export class PipesMessagesNotStoredError extends PipesStorageError {
  override readonly status = 500;
  override readonly code = "messages_not_stored";
  override readonly transient = false;
}
