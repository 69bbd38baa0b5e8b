locals {
  message_prefix = "${var.key_prefix}/"

  vpc_direct = var.vpc == null || try(var.vpc.connector, null) != null ? [] : [var.vpc]
  vpc_egress = try(var.vpc.all_traffic, false) ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"

  apis = concat([
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "run.googleapis.com",
    "storage.googleapis.com",
  ], length(var.secrets) == 0 ? [] : ["secretmanager.googleapis.com"])
}

resource "google_project_service" "this" {
  for_each = var.enable_apis ? toset(local.apis) : []

  project            = var.project
  service            = each.value
  disable_on_destroy = false # others in the project may use them
}

resource "google_storage_bucket" "messages" {
  project  = var.project
  name     = "${var.project}-${var.name}-pipes"
  location = var.region

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
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_storage_bucket" "source" {
  project  = var.project
  name     = "${var.project}-${var.name}-source"
  location = var.region

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # the archive can be built again

  depends_on = [google_project_service.this]
}

resource "google_storage_bucket_object" "source" {
  bucket = google_storage_bucket.source.name
  name   = "${var.name}-${filesha256(var.source_archive)}.zip" # the platform deploys again if the name changes, and only then
  source = var.source_archive

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_cloudfunctions2_function" "this" {
  project     = var.project
  location    = var.region
  name        = var.name
  description = "Called by Dagster through Pipes."

  build_config {
    runtime         = var.runtime
    entry_point     = var.entry_point
    service_account = var.build_service_account == null ? null : "projects/${var.project}/serviceAccounts/${var.build_service_account}"

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = var.memory
    available_cpu                    = tostring(var.cpu)
    timeout_seconds                  = var.timeout
    max_instance_request_concurrency = var.concurrency
    min_instance_count               = var.min_instances
    max_instance_count               = var.max_instances
    ingress_settings                 = var.ingress
    service_account_email            = google_service_account.function.email
    all_traffic_on_latest_revision   = true

    environment_variables = merge(var.environment, {
      GCF_PIPES_BUCKETS    = google_storage_bucket.messages.name
      GCF_PIPES_KEY_PREFIX = var.key_prefix
      LOG_EXECUTION_ID     = "true" # gcloud and the console set it: without it, plans would differ
      THREADS              = tostring(var.concurrency)
    })

    dynamic "secret_environment_variables" {
      for_each = var.secrets

      content {
        project_id = var.project
        key        = secret_environment_variables.key
        secret     = secret_environment_variables.value.secret
        version    = secret_environment_variables.value.version
      }
    }

    vpc_connector                 = try(var.vpc.connector, null)
    vpc_connector_egress_settings = try(var.vpc.connector, null) == null ? null : local.vpc_egress
    direct_vpc_egress             = length(local.vpc_direct) == 0 ? null : "VPC_EGRESS_${local.vpc_egress}"

    dynamic "direct_vpc_network_interface" {
      for_each = local.vpc_direct

      content {
        network    = direct_vpc_network_interface.value.network
        subnetwork = direct_vpc_network_interface.value.subnetwork
        tags       = direct_vpc_network_interface.value.tags
      }
    }
  }

  depends_on = [google_project_service.this, google_secret_manager_secret_iam_member.function]
}
