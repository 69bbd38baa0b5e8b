locals {
  own_variables = ["GCF_PIPES_BUCKETS", "GCF_PIPES_KEY_PREFIX", "LOG_EXECUTION_ID", "THREADS"]

  # https://cloud.google.com/run/docs/configuring/services/overview-environment-variables
  # https://cloud.google.com/run/docs/container-contract#env-vars
  platform_variables = ["FUNCTION_SIGNATURE_TYPE", "FUNCTION_TARGET", "K_CONFIGURATION", "K_REVISION", "K_SERVICE", "PORT"]

  # https://cloud.google.com/run/docs/configuring/services/cpu
  gibibytes = try(tonumber(regex("^[0-9]+", var.memory)) * { M = 0.000931, Mi = 1 / 1024, G = 0.931, Gi = 1 }[regex("[MGi]+$", var.memory)], 1)
  memory_limits = [
    { below = 0.5, most = 0.5 },
    { below = 1, most = 1 },
    { below = 2, most = 4 },
    { below = 4, most = 8 },
    { below = 6, most = 16 },
    { below = 8, most = 24 },
  ]

  vpc_direct = var.vpc == null || try(var.vpc.connector, null) != null ? [] : [var.vpc]
  vpc_egress = try(var.vpc.all_traffic, false) ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"

  secrets = { for key, secret in var.secrets : key => merge(secret, {
    project = try(regex("^projects/([^/]+)/", secret.secret)[0], var.shared.project)
    id      = basename(secret.secret)
  }) }
}

resource "google_storage_bucket" "source" {
  project  = var.shared.project
  name     = "${var.shared.project}-${var.name}-source"
  location = var.shared.region
  labels   = var.shared.labels

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # the archive can be built again

  dynamic "encryption" {
    for_each = var.shared.kms_key[*]

    content {
      default_kms_key_name = encryption.value.id
    }
  }
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
  project      = var.shared.project
  location     = var.shared.region
  name         = var.name
  description  = "Called by Dagster through Pipes."
  kms_key_name = one(var.shared.kms_key[*].id)
  labels       = var.shared.labels

  build_config {
    runtime               = var.runtime
    entry_point           = var.entry_point
    service_account       = var.shared.build_service_account == null ? null : "projects/${var.shared.project}/serviceAccounts/${var.shared.build_service_account.email}"
    worker_pool           = var.shared.worker_pool
    docker_repository     = var.shared.docker_repository
    environment_variables = var.build_environment

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
    all_traffic_on_latest_revision   = var.serve_latest_revision

    environment_variables = merge(var.environment, {
      GCF_PIPES_BUCKETS    = var.shared.bucket
      GCF_PIPES_KEY_PREFIX = var.shared.key_prefix
      LOG_EXECUTION_ID     = "true" # Dagster's link to the logs of a call selects by this ID
      THREADS              = tostring(var.concurrency)
    })

    dynamic "secret_environment_variables" {
      for_each = { for secret in local.secrets : secret.variable => secret if secret.variable != null }

      content {
        key        = secret_environment_variables.key
        project_id = secret_environment_variables.value.project
        secret     = secret_environment_variables.value.id
        version    = secret_environment_variables.value.version
      }
    }

    dynamic "secret_volumes" {
      for_each = { for secret in local.secrets : secret.file => secret if secret.file != null }

      content {
        mount_path = dirname(secret_volumes.key)
        project_id = secret_volumes.value.project
        secret     = secret_volumes.value.id

        versions {
          version = secret_volumes.value.version
          path    = basename(secret_volumes.key)
        }
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

  depends_on = [
    google_secret_manager_secret_iam_member.function,
    google_service_account_iam_member.deployers,
  ]
}
