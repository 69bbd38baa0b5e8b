# Each variable reaches its argument. Applied against a mock of the provider; any file will do for an archive.

mock_provider "google" {
  mock_resource "google_cloudfunctions2_function" {
    defaults = {
      service_config = {
        service = "projects/acme-data/locations/europe-west1/services/orders-beneath"
        uri     = "https://orders-beneath-ew.a.run.app"
      }
    }
  }
  mock_resource "google_service_account" {
    defaults = {
      name   = "projects/acme-data/serviceAccounts/orders-function@acme-data.iam.gserviceaccount.com"
      email  = "orders-function@acme-data.iam.gserviceaccount.com"
      member = "serviceAccount:orders-function@acme-data.iam.gserviceaccount.com"
    }
  }
}

variables {
  shared = {
    project                 = "acme-data"
    region                  = "europe-west1"
    bucket                  = "acme-data-pipes"
    key_prefix              = "dagster-pipes"
    dagster_service_account = "pipes-dagster@acme-data.iam.gserviceaccount.com"
    deployers               = {}
    build_service_account   = null
    worker_pool             = null
    docker_repository       = "projects/acme-data/locations/europe-west1/repositories/pipes"
    kms_key                 = null
    labels                  = {}
    alerts                  = null
  }
  name           = "orders"
  source_archive = "versions.tf"
}

run "defaults_are_safe_and_cheap" {
  assert {
    condition = [
      google_cloudfunctions2_function.this.build_config[0].runtime,
      google_cloudfunctions2_function.this.build_config[0].entry_point,
      google_cloudfunctions2_function.this.build_config[0].docker_repository,
      google_cloudfunctions2_function.this.build_config[0].source[0].storage_source[0].bucket,
      google_cloudfunctions2_function.this.build_config[0].source[0].storage_source[0].object,
      ] == [
      "python313",
      "main",
      "projects/acme-data/locations/europe-west1/repositories/pipes",
      "acme-data-orders-source",
      "orders-${filesha256("versions.tf")}.zip",
    ]
    error_message = "got ${jsonencode(google_cloudfunctions2_function.this.build_config)}"
  }
  assert {
    condition = jsonencode([
      google_cloudfunctions2_function.this.service_config[0].available_memory,
      google_cloudfunctions2_function.this.service_config[0].available_cpu,
      google_cloudfunctions2_function.this.service_config[0].timeout_seconds,
      google_cloudfunctions2_function.this.service_config[0].max_instance_request_concurrency,
      google_cloudfunctions2_function.this.service_config[0].min_instance_count,
      google_cloudfunctions2_function.this.service_config[0].max_instance_count,
      google_cloudfunctions2_function.this.service_config[0].ingress_settings,
      google_cloudfunctions2_function.this.service_config[0].all_traffic_on_latest_revision,
      google_cloudfunctions2_function.this.service_config[0].service_account_email,
    ]) == jsonencode(["512Mi", "1", 540, 1, 0, 10, "ALLOW_ALL", true, "orders-function@acme-data.iam.gserviceaccount.com"])
    error_message = "got ${jsonencode(google_cloudfunctions2_function.this.service_config)}"
  }
  assert {
    condition = google_cloudfunctions2_function.this.service_config[0].environment_variables == tomap({
      GCF_PIPES_BUCKETS    = "acme-data-pipes"
      GCF_PIPES_KEY_PREFIX = "dagster-pipes"
      LOG_EXECUTION_ID     = "true"
      THREADS              = "1"
    })
    error_message = "got ${jsonencode(google_cloudfunctions2_function.this.service_config[0].environment_variables)}"
  }
  assert {
    condition     = [google_cloudfunctions2_function.this.project, google_cloudfunctions2_function.this.location, google_cloudfunctions2_function.this.name] == ["acme-data", "europe-west1", "orders"]
    error_message = "got another place or name"
  }
  assert {
    condition     = [google_storage_bucket.source.project, google_storage_bucket.source.name, google_storage_bucket.source.location, google_storage_bucket.source.public_access_prevention] == ["acme-data", "acme-data-orders-source", "europe-west1", "enforced"] && google_storage_bucket.source.uniform_bucket_level_access
    error_message = "got ${jsonencode(google_storage_bucket.source)}"
  }
  assert {
    condition     = length(google_storage_bucket.source.lifecycle_rule) == 0
    error_message = "the source is deleted"
  }
  assert {
    condition     = length(google_storage_bucket.source.encryption) == 0 && google_cloudfunctions2_function.this.kms_key_name == null
    error_message = "there is a key that nobody gave"
  }
  assert {
    condition     = length(google_monitoring_alert_policy.metrics) + length(google_monitoring_alert_policy.logs) == 0
    error_message = "there are alerts"
  }
  assert {
    condition     = google_service_account.function.account_id == "orders-function"
    error_message = "got ${google_service_account.function.account_id}"
  }
}

run "another_archive_has_another_name" {
  variables {
    source_archive = "outputs.tf"
  }
  assert {
    condition     = google_cloudfunctions2_function.this.build_config[0].source[0].storage_source[0].object == "orders-${filesha256("outputs.tf")}.zip" && google_storage_bucket_object.source.source == "outputs.tf"
    error_message = "got ${google_storage_bucket_object.source.name}"
  }
}

run "arguments" {
  variables {
    shared = merge(var.shared, {
      build_service_account = { email = "builder@acme-data.iam.gserviceaccount.com" }
      worker_pool           = "projects/acme-data/locations/europe-west1/workerPools/private"
      kms_key               = { id = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes" }
      labels                = { team = "data" }
    })
    runtime               = "python312"
    entry_point           = "handle"
    memory                = "4Gi"
    cpu                   = 2
    timeout               = 1800
    concurrency           = 40
    min_instances         = 1
    max_instances         = 3
    ingress               = "ALLOW_INTERNAL_ONLY"
    serve_latest_revision = false
    environment           = { TABLE = "orders" }
    build_environment     = { GOOGLE_PYTHON_PACKAGE_MANAGER = "uv" }
  }
  assert {
    condition = jsonencode([
      google_cloudfunctions2_function.this.build_config[0].runtime,
      google_cloudfunctions2_function.this.build_config[0].entry_point,
      google_cloudfunctions2_function.this.build_config[0].service_account,
      google_cloudfunctions2_function.this.build_config[0].worker_pool,
      google_cloudfunctions2_function.this.build_config[0].environment_variables,
      ]) == jsonencode([
      "python312",
      "handle",
      "projects/acme-data/serviceAccounts/builder@acme-data.iam.gserviceaccount.com",
      "projects/acme-data/locations/europe-west1/workerPools/private",
      { GOOGLE_PYTHON_PACKAGE_MANAGER = "uv" },
    ])
    error_message = "got ${jsonencode(google_cloudfunctions2_function.this.build_config)}"
  }
  assert {
    condition = jsonencode([
      google_cloudfunctions2_function.this.service_config[0].available_memory,
      google_cloudfunctions2_function.this.service_config[0].available_cpu,
      google_cloudfunctions2_function.this.service_config[0].timeout_seconds,
      google_cloudfunctions2_function.this.service_config[0].max_instance_request_concurrency,
      google_cloudfunctions2_function.this.service_config[0].min_instance_count,
      google_cloudfunctions2_function.this.service_config[0].max_instance_count,
      google_cloudfunctions2_function.this.service_config[0].ingress_settings,
      google_cloudfunctions2_function.this.service_config[0].all_traffic_on_latest_revision,
      google_cloudfunctions2_function.this.service_config[0].environment_variables.THREADS,
      google_cloudfunctions2_function.this.service_config[0].environment_variables.TABLE,
    ]) == jsonencode(["4Gi", "2", 1800, 40, 1, 3, "ALLOW_INTERNAL_ONLY", false, "40", "orders"])
    error_message = "got ${jsonencode(google_cloudfunctions2_function.this.service_config)}"
  }
  assert {
    condition     = [google_cloudfunctions2_function.this.kms_key_name, google_storage_bucket.source.encryption[0].default_kms_key_name] == ["projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes", "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes"]
    error_message = "something has another key"
  }
  assert {
    condition     = google_cloudfunctions2_function.this.labels == tomap({ team = "data" }) && google_storage_bucket.source.labels == tomap({ team = "data" })
    error_message = "something has other labels"
  }
}

run "secrets" {
  variables {
    secrets = {
      shop = { secret = "shop-key", version = "2", variable = "SHOP_API_KEY" }
      tls  = { secret = "projects/acme-keys/secrets/tls", version = "3", file = "/secrets/tls/key.pem" }
    }
  }
  assert {
    condition = jsonencode([for secret in google_cloudfunctions2_function.this.service_config[0].secret_environment_variables : [secret.key, secret.project_id, secret.secret, secret.version]]) == jsonencode([
      ["SHOP_API_KEY", "acme-data", "shop-key", "2"],
    ])
    error_message = "got ${jsonencode(google_cloudfunctions2_function.this.service_config[0].secret_environment_variables)}"
  }
  assert {
    condition = jsonencode([for secret in google_cloudfunctions2_function.this.service_config[0].secret_volumes : [secret.mount_path, secret.project_id, secret.secret, secret.versions[0].path, secret.versions[0].version]]) == jsonencode([
      ["/secrets/tls", "acme-keys", "tls", "key.pem", "3"],
    ])
    error_message = "got ${jsonencode(google_cloudfunctions2_function.this.service_config[0].secret_volumes)}"
  }
}

run "a_connector_leads_into_the_network" {
  variables {
    vpc = { connector = "projects/acme-data/locations/europe-west1/connectors/main" }
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].vpc_connector == "projects/acme-data/locations/europe-west1/connectors/main" && google_cloudfunctions2_function.this.service_config[0].vpc_connector_egress_settings == "PRIVATE_RANGES_ONLY" && length(google_cloudfunctions2_function.this.service_config[0].direct_vpc_network_interface) == 0
    error_message = "it does not, or direct egress is on as well"
  }
}

run "direct_egress_leads_into_the_network" {
  variables {
    vpc = { network = "main", subnetwork = "functions", tags = ["pipes"], all_traffic = true }
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].direct_vpc_egress == "VPC_EGRESS_ALL_TRAFFIC" && jsonencode([for to in google_cloudfunctions2_function.this.service_config[0].direct_vpc_network_interface : [to.network, to.subnetwork, to.tags]]) == jsonencode([["main", "functions", ["pipes"]]])
    error_message = "it does not"
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].vpc_connector == null
    error_message = "there is a connector as well"
  }
}

run "alerts" {
  variables {
    shared  = merge(var.shared, { labels = { team = "data" }, alerts = { notification_channels = ["projects/acme-data/notificationChannels/1"] } })
    timeout = 1000
  }
  assert {
    condition = { for key, alert in google_monitoring_alert_policy.metrics : key => "${alert.conditions[0].condition_threshold[0].filter} > ${alert.conditions[0].condition_threshold[0].threshold_value}" } == {
      server_errors = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"orders-beneath\" AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\" > 0"
      near_timeout  = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"orders-beneath\" AND metric.type = \"run.googleapis.com/request_latencies\" > 900000"
    }
    error_message = "got ${jsonencode(google_monitoring_alert_policy.metrics)}"
  }
  assert {
    condition     = alltrue([for alert in concat(values(google_monitoring_alert_policy.metrics), values(google_monitoring_alert_policy.logs)) : alert.notification_channels == tolist(["projects/acme-data/notificationChannels/1"]) && alert.user_labels == tomap({ team = "data" })])
    error_message = "somebody else is notified"
  }
  assert {
    condition = { for key, alert in google_monitoring_alert_policy.logs : key => alert.conditions[0].condition_matched_log[0].filter } == {
      too_many_requests = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"orders-beneath\" AND (httpRequest.status = 429 OR textPayload:\"no available instance\")"
      deaths            = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"orders-beneath\" AND log_id(\"run.googleapis.com/varlog/system\") AND textPayload =~ \"Memory limit of .+ exceeded with .+ used|Container (?:terminated on signal|called exit)\""
    }
    error_message = "got ${jsonencode(google_monitoring_alert_policy.logs)}"
  }
}
