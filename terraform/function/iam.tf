# What the function's account may do, and who may call the function, look it up and attach its account. Each role is on
# one prefix, secret, service, function or account. docs/guides/deploy-terraform.md says which feature needs which.

locals {
  service = basename(google_cloudfunctions2_function.this.service_config[0].service) # its name can differ from the function's

  bucket_resource = "projects/_/buckets/${var.shared.bucket}"
  below_prefix    = "resource.name.startsWith(\"${local.bucket_resource}/objects/${var.shared.key_prefix}/\")"

  # The resource of `storage.objects.list` is the bucket. Who lacks it gets 403, not 404, for an object that is not there yet.
  below_prefix_or_list = "${local.below_prefix} || resource.name == \"${local.bucket_resource}\""
}

resource "google_service_account" "function" {
  project      = var.shared.project
  account_id   = "${var.name}-function"
  display_name = "The function ${var.name}"
}

resource "google_storage_bucket_iam_member" "function_creates" {
  bucket = var.shared.bucket
  role   = "roles/storage.objectCreator"
  member = google_service_account.function.member

  condition {
    title      = "below_key_prefix"
    expression = local.below_prefix
  }
}

resource "google_storage_bucket_iam_member" "function_reads" {
  bucket = var.shared.bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.function.member

  condition {
    title      = "below_key_prefix_or_list"
    expression = local.below_prefix_or_list
  }
}

resource "google_secret_manager_secret_iam_member" "function" {
  for_each = local.secrets

  project   = each.value.project
  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function.member
}

resource "google_service_account_iam_member" "deployers" {
  for_each = var.shared.deployers

  service_account_id = google_service_account.function.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}

# The service beneath the function: on the function itself the platform refuses this role with 400.
# https://github.com/hashicorp/terraform-provider-google/issues/12562
resource "google_cloud_run_v2_service_iam_member" "dagster_invokes" {
  project  = var.shared.project
  location = var.shared.region
  name     = local.service
  role     = "roles/run.invoker"
  member   = "serviceAccount:${var.shared.dagster_service_account}"
}

resource "google_cloud_run_v2_service_iam_member" "invokers" {
  for_each = var.invokers

  project  = var.shared.project
  location = var.shared.region
  name     = local.service
  role     = "roles/run.invoker"
  member   = each.value
}

resource "google_cloudfunctions2_function_iam_member" "dagster_views" {
  project        = var.shared.project
  location       = var.shared.region
  cloud_function = google_cloudfunctions2_function.this.name
  role           = "roles/cloudfunctions.viewer"
  member         = "serviceAccount:${var.shared.dagster_service_account}"
}
