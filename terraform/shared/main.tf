locals {
  message_prefix = "${var.key_prefix}/"

  apis = concat([
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "run.googleapis.com",
    "storage.googleapis.com",
  ], var.alerts == null ? [] : ["monitoring.googleapis.com"])
}

resource "google_project_service" "this" {
  for_each = var.enable_apis ? toset(local.apis) : []

  project            = var.project
  service            = each.value
  disable_on_destroy = false # others in the project may use them
}

resource "google_storage_bucket" "messages" {
  project  = var.project
  name     = "${var.project}-${var.name}"
  location = var.region
  labels   = var.labels

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # messages are not kept beyond a call

  soft_delete_policy {
    retention_duration_seconds = 0 # each message would be kept, and paid for, another week
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = var.message_age
      matches_prefix = [local.message_prefix]
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key[*]

    content {
      default_kms_key_name = encryption.value.id
    }
  }

  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.agents]
}

# The platform's own repository, gcf-artifacts, keeps every image, and cannot have a key.
resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = var.name
  description   = "Images of the functions that Dagster calls."
  format        = "DOCKER"
  kms_key_name  = one(var.kms_key[*].id)
  labels        = var.labels

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "86400s"
    }
  }

  cleanup_policies {
    id     = "keep-last"
    action = "KEEP"
    most_recent_versions {
      keep_count = var.kept_images
    }
  }

  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.agents]
}

# A filter takes the source, the resource's type and the log, but not the resource's labels.
# https://cloud.google.com/logging/docs/reference/v2/rest/v2/locations.buckets.views
resource "google_logging_log_view" "dagster" {
  count = var.log_view == null ? 0 : 1

  parent      = "projects/${var.project}"
  location    = var.log_view.location
  bucket      = var.log_view.bucket
  name        = "${var.name}-dagster"
  description = "What Dagster may read: the logs of Cloud Run services, functions among them."
  filter      = "resource.type = \"cloud_run_revision\""

  depends_on = [google_project_service.this]
}

resource "google_monitoring_alert_policy" "objects" {
  count = try(var.alerts.max_objects, null) == null ? 0 : 1

  project               = var.project
  display_name          = "${var.name}: objects in the bucket"
  combiner              = "OR"
  notification_channels = var.alerts.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = "more than ${var.alerts.max_objects} objects"

    condition_threshold {
      filter          = "resource.type = \"gcs_bucket\" AND resource.labels.bucket_name = \"${google_storage_bucket.messages.name}\" AND metric.type = \"storage.googleapis.com/storage/object_count\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.alerts.max_objects
      duration        = "0s"

      aggregations {
        alignment_period     = "86400s" # the platform counts once a day: https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-storage
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  depends_on = [google_project_service.this]
}
