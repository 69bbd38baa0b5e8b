"""Tests against a real project of Google Cloud: `just test -m live`. They are skipped unless the environment has what
they need:

- `GCF_PIPES_LIVE_FUNCTION_URL`: the https URL of a deployed function, or several of the same one with commas between
  them (its `run.app` and its `cloudfunctions.net` URL). It is the example of `cloud_function/`, deployed with
  `--no-allow-unauthenticated` from the version that is tested.
- `GCF_PIPES_LIVE_BUCKET`: a bucket which the function may create objects in, and Dagster may read, list and delete.
- Google credentials, as google-auth finds them: `gcloud auth application-default login`, or
  `GOOGLE_APPLICATION_CREDENTIALS`.
- `GCF_PIPES_LIVE_SERVICE_ACCOUNT`: the email of a service account with `roles/run.invoker` on the function and rights
  on the bucket; the credentials need `roles/iam.serviceAccountTokenCreator` on it. It may be missing if they are a
  service account's own.

What they cost: one run of some seconds of the function for each URL, some dozens of operations on the bucket, and a few
kilobytes below `live-tests/` in it, which stay: less than a cent. Nothing else of the project is touched.
"""
