# Who may do what, and nothing wider: each role is given on one bucket's prefix, one service, one function, one account
# or one view. docs/guides/deploy-terraform.md says which feature needs which of them.

locals {
  dagster_email  = coalesce(var.dagster_service_account, one(google_service_account.dagster[*].email))
  dagster_member = "serviceAccount:${local.dagster_email}"

  bucket_resource = "projects/_/buckets/${google_storage_bucket.messages.name}"
  below_prefix    = "resource.name.startsWith(\"${local.bucket_resource}/objects/${local.message_prefix}\")"

  # The resource of `storage.objects.list` is the bucket. Who lacks it gets 403, not 404, for an object that is not there yet.
  below_prefix_or_list = "${local.below_prefix} || resource.name == \"${local.bucket_resource}\""
}

resource "google_service_account" "function" {
  project      = var.project
  account_id   = "${var.name}-function"
  display_name = "The function ${var.name}"

  depends_on = [google_project_service.this]
}

resource "google_service_account" "dagster" {
  count = var.dagster_service_account == null ? 1 : 0

  project      = var.project
  account_id   = "${var.name}-dagster"
  display_name = "Dagster, calling ${var.name}"

  depends_on = [google_project_service.this]
}

resource "google_storage_bucket_iam_member" "function_creates" {
  bucket = google_storage_bucket.messages.name
  role   = "roles/storage.objectCreator"
  member = google_service_account.function.member

  condition {
    title      = "below_key_prefix"
    expression = local.below_prefix
  }
}

resource "google_storage_bucket_iam_member" "function_reads" {
  bucket = google_storage_bucket.messages.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.function.member

  condition {
    title      = "below_key_prefix_or_list"
    expression = local.below_prefix_or_list
  }
}

resource "google_secret_manager_secret_iam_member" "function" {
  for_each = toset([for secret in values(var.secrets) : secret.secret])

  project   = var.project
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function.member
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
  role   = var.cleanup == "never" ? "roles/storage.objectCreator" : "roles/storage.objectUser" # no narrower one deletes
  member = local.dagster_member

  condition {
    title      = "below_key_prefix"
    expression = local.below_prefix
  }
}

# The service beneath the function, whose name can differ from the function's: on the function itself the platform
# refuses this role with 400. https://github.com/hashicorp/terraform-provider-google/issues/12562
resource "google_cloud_run_v2_service_iam_member" "dagster_invokes" {
  project  = var.project
  location = var.region
  name     = basename(google_cloudfunctions2_function.this.service_config[0].service)
  role     = "roles/run.invoker"
  member   = local.dagster_member
}

resource "google_cloudfunctions2_function_iam_member" "dagster_views" {
  count = var.dagster_views_function ? 1 : 0

  project        = var.project
  location       = var.region
  cloud_function = google_cloudfunctions2_function.this.name
  role           = "roles/cloudfunctions.viewer"
  member         = local.dagster_member
}

resource "google_logging_log_view" "dagster" {
  count = var.dagster_views_logs ? 1 : 0

  parent      = "projects/${var.project}"
  location    = "global"
  bucket      = "_Default"
  name        = "${var.name}-dagster"
  description = "What Dagster may read: the logs of Cloud Run services, functions among them."
  filter      = "resource.type = \"cloud_run_revision\""

  depends_on = [google_project_service.this]
}

resource "google_logging_log_view_iam_member" "dagster" {
  count = var.dagster_views_logs ? 1 : 0

  parent   = google_logging_log_view.dagster[0].parent
  location = google_logging_log_view.dagster[0].location
  bucket   = google_logging_log_view.dagster[0].bucket
  name     = google_logging_log_view.dagster[0].name
  role     = "roles/logging.viewAccessor"
  member   = local.dagster_member
}

resource "google_service_account_iam_member" "dagster_impersonators" {
  for_each = var.dagster_impersonators

  service_account_id = "projects/-/serviceAccounts/${local.dagster_email}"
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}
