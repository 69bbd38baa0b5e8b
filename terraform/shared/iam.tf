# What Dagster, its impersonators, the deployers and Google's service agents may do: each role is on one prefix, account,
# view or key. docs/guides/deploy-terraform.md says which feature needs which of them.

locals {
  dagster_email  = var.dagster_service_account == null ? google_service_account.dagster[0].email : var.dagster_service_account.email
  dagster_member = "serviceAccount:${local.dagster_email}"

  bucket_resource = "projects/_/buckets/${google_storage_bucket.messages.name}"
  below_prefix    = "resource.name.startsWith(\"${local.bucket_resource}/objects/${local.message_prefix}\")"

  # The resource of `storage.objects.list` is the bucket. Who lacks it gets 403, not 404, for an object that is not there yet.
  below_prefix_or_list = "${local.below_prefix} || resource.name == \"${local.bucket_resource}\""

  # https://cloud.google.com/functions/docs/securing/cmek
  kms_agents = try(var.kms_key.grant, false) ? {
    artifact_registry = "gcp-sa-artifactregistry"
    functions         = "gcf-admin-robot"
    run               = "serverless-robot-prod"
    storage           = "gs-project-accounts"
  } : {}
}

resource "google_service_account" "dagster" {
  count = var.dagster_service_account == null ? 1 : 0

  project      = var.project
  account_id   = "${var.name}-dagster"
  display_name = "Dagster, calling functions"

  depends_on = [google_project_service.this]
}

resource "google_storage_bucket_iam_member" "dagster_reads" {
  bucket = google_storage_bucket.messages.name
  role   = "roles/storage.objectViewer"
  member = local.dagster_member

  condition {
    title      = "below_key_prefix_or_list"
    expression = local.below_prefix_or_list
  }
}

resource "google_storage_bucket_iam_member" "dagster_writes" {
  bucket = google_storage_bucket.messages.name
  role   = var.cleanup == "never" ? "roles/storage.objectCreator" : "roles/storage.objectUser" # legacy roles aside, no narrower one deletes
  member = local.dagster_member

  condition {
    title      = "below_key_prefix"
    expression = local.below_prefix
  }
}

resource "google_logging_log_view_iam_member" "dagster" {
  count = var.log_view == null ? 0 : 1

  parent   = google_logging_log_view.dagster[0].parent
  location = google_logging_log_view.dagster[0].location
  bucket   = google_logging_log_view.dagster[0].bucket
  name     = google_logging_log_view.dagster[0].name
  role     = "roles/logging.viewAccessor"
  member   = local.dagster_member
}

# A workload's principal gets access and ID tokens with the narrower role; it cannot sign with the account.
# https://cloud.google.com/iam/docs/service-account-permissions
resource "google_service_account_iam_member" "dagster_impersonators" {
  for_each = var.dagster_impersonators

  service_account_id = "projects/-/serviceAccounts/${local.dagster_email}"
  role               = can(regex("^principal|\\.svc\\.id\\.goog\\[", each.value)) ? "roles/iam.workloadIdentityUser" : "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}

resource "google_service_account_iam_member" "deployers" {
  for_each = var.build_service_account == null ? {} : var.deployers

  service_account_id = "projects/-/serviceAccounts/${var.build_service_account.email}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}

data "google_project" "this" {
  count = try(var.kms_key.grant, false) ? 1 : 0

  project_id = var.project
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each = local.kms_agents

  crypto_key_id = var.kms_key.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${data.google_project.this[0].number}@${each.value}.iam.gserviceaccount.com"

  depends_on = [google_project_service.this]
}
