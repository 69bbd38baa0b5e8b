# Each variable reaches its argument. Applied against a mock of the provider.

mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = {
      email = "pipes-dagster@acme-data.iam.gserviceaccount.com"
    }
  }
  mock_resource "google_logging_log_view" {
    defaults = {
      id = "projects/acme-data/locations/global/buckets/_Default/views/pipes-dagster"
    }
  }
}

variables {
  project = "acme-data"
  region  = "europe-west1"
}

run "messages_are_private_and_deleted_in_the_end" {
  assert {
    condition     = [google_storage_bucket.messages.project, google_storage_bucket.messages.name, google_storage_bucket.messages.location, google_storage_bucket.messages.public_access_prevention] == ["acme-data", "acme-data-pipes", "europe-west1", "enforced"] && google_storage_bucket.messages.uniform_bucket_level_access
    error_message = "got ${jsonencode(google_storage_bucket.messages)}"
  }
  assert {
    condition     = jsonencode([for rule in google_storage_bucket.messages.lifecycle_rule : [one(rule.action).type, one(rule.condition).age, one(rule.condition).matches_prefix]]) == jsonencode([["Delete", 7, ["dagster-pipes/"]]])
    error_message = "got ${jsonencode(google_storage_bucket.messages.lifecycle_rule)}"
  }
  assert {
    condition     = google_storage_bucket.messages.soft_delete_policy[0].retention_duration_seconds == 0
    error_message = "soft delete is on"
  }
  assert {
    condition     = length(google_storage_bucket.messages.encryption) == 0 && google_artifact_registry_repository.images.kms_key_name == null
    error_message = "there is a key that nobody gave"
  }
}

run "images_are_private_and_deleted_in_the_end" {
  variables {
    kept_images = 3
  }
  assert {
    condition     = [google_artifact_registry_repository.images.project, google_artifact_registry_repository.images.location, google_artifact_registry_repository.images.repository_id, google_artifact_registry_repository.images.format] == ["acme-data", "europe-west1", "pipes", "DOCKER"]
    error_message = "got ${jsonencode(google_artifact_registry_repository.images)}"
  }
  assert {
    condition = { for policy in google_artifact_registry_repository.images.cleanup_policies : policy.action => concat([for old in policy.condition : old.older_than], [for last in policy.most_recent_versions : tostring(last.keep_count)]) } == {
      DELETE = ["86400s"]
      KEEP   = ["3"]
    }
    error_message = "got ${jsonencode(google_artifact_registry_repository.images.cleanup_policies)}"
  }
}

run "arguments" {
  variables {
    name        = "team"
    key_prefix  = "team/pipes"
    message_age = 30
    kms_key     = { id = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes" }
    labels      = { team = "data" }
  }
  assert {
    condition     = [google_storage_bucket.messages.name, google_artifact_registry_repository.images.repository_id, google_service_account.dagster[0].account_id] == ["acme-data-team", "team", "team-dagster"]
    error_message = "something has another name"
  }
  assert {
    condition     = jsonencode([for rule in google_storage_bucket.messages.lifecycle_rule : [one(rule.condition).age, one(rule.condition).matches_prefix]]) == jsonencode([[30, ["team/pipes/"]]])
    error_message = "got ${jsonencode(google_storage_bucket.messages.lifecycle_rule)}"
  }
  assert {
    condition     = [google_storage_bucket.messages.encryption[0].default_kms_key_name, google_artifact_registry_repository.images.kms_key_name, output.kms_key.id] == ["projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes", "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes", "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes"]
    error_message = "something has another key"
  }
  assert {
    condition     = google_storage_bucket.messages.labels == tomap({ team = "data" }) && google_artifact_registry_repository.images.labels == tomap({ team = "data" }) && output.labels == tomap({ team = "data" })
    error_message = "something has other labels"
  }
}

run "apis" {
  assert {
    condition = toset(keys(google_project_service.this)) == toset([
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudfunctions.googleapis.com",
      "iam.googleapis.com",
      "iamcredentials.googleapis.com",
      "logging.googleapis.com",
      "run.googleapis.com",
      "storage.googleapis.com",
    ])
    error_message = "got ${jsonencode(keys(google_project_service.this))}"
  }
  assert {
    condition     = alltrue([for api in google_project_service.this : api.disable_on_destroy == false])
    error_message = "destroy takes an API away from others"
  }
}

run "no_apis" {
  variables {
    enable_apis = false
  }
  assert {
    condition     = length(google_project_service.this) == 0
    error_message = "an API is enabled"
  }
}

run "a_log_view_shows_services_only" {
  variables {
    log_view = {}
  }
  assert {
    condition     = [google_logging_log_view.dagster[0].parent, google_logging_log_view.dagster[0].location, google_logging_log_view.dagster[0].bucket, google_logging_log_view.dagster[0].name, google_logging_log_view.dagster[0].filter] == ["projects/acme-data", "global", "_Default", "pipes-dagster", "resource.type = \"cloud_run_revision\""]
    error_message = "got ${jsonencode(google_logging_log_view.dagster)}"
  }
  assert {
    condition     = output.resource.log_view == "projects/acme-data/locations/global/buckets/_Default/views/pipes-dagster"
    error_message = "the resource does not read the logs through the view"
  }
}

run "alerts" {
  variables {
    alerts = { notification_channels = ["projects/acme-data/notificationChannels/1"], max_objects = 50000 }
    labels = { team = "data" }
  }
  assert {
    condition     = contains(keys(google_project_service.this), "monitoring.googleapis.com")
    error_message = "monitoring is not enabled"
  }
  assert {
    condition = jsonencode([for alert in google_monitoring_alert_policy.objects : [alert.notification_channels, alert.user_labels, alert.conditions[0].condition_threshold[0].filter, alert.conditions[0].condition_threshold[0].threshold_value]]) == jsonencode([
      [["projects/acme-data/notificationChannels/1"], { team = "data" }, "resource.type = \"gcs_bucket\" AND resource.labels.bucket_name = \"acme-data-pipes\" AND metric.type = \"storage.googleapis.com/storage/object_count\"", 50000],
    ])
    error_message = "got ${jsonencode(google_monitoring_alert_policy.objects)}"
  }
  assert {
    condition     = output.alerts.notification_channels == tolist(["projects/acme-data/notificationChannels/1"])
    error_message = "the functions notify somebody else"
  }
}

run "alerts_of_functions_only" {
  variables {
    alerts = { notification_channels = ["projects/acme-data/notificationChannels/1"] }
  }
  assert {
    condition     = length(google_monitoring_alert_policy.objects) == 0
    error_message = "there is an alert without a number"
  }
}

run "outputs_are_what_the_functions_need" {
  variables {
    deployers             = { ci = "serviceAccount:ci@acme-data.iam.gserviceaccount.com" }
    build_service_account = { email = "builder@acme-data.iam.gserviceaccount.com" }
    worker_pool           = "projects/acme-data/locations/europe-west1/workerPools/private"
  }
  assert {
    condition = jsonencode([output.project, output.region, output.bucket, output.key_prefix, output.dagster_service_account, output.deployers, output.build_service_account.email, output.worker_pool, output.kms_key, output.alerts]) == jsonencode([
      "acme-data", "europe-west1", "acme-data-pipes", "dagster-pipes", "pipes-dagster@acme-data.iam.gserviceaccount.com", { ci = "serviceAccount:ci@acme-data.iam.gserviceaccount.com" }, "builder@acme-data.iam.gserviceaccount.com", "projects/acme-data/locations/europe-west1/workerPools/private", null, null,
    ])
    error_message = "an output is another"
  }
  assert {
    condition     = output.docker_repository == google_artifact_registry_repository.images.id
    error_message = "got ${output.docker_repository}"
  }
}

run "the_output_is_the_fields_of_the_dagster_resource" {
  assert {
    condition = jsonencode(output.resource) == jsonencode({
      bucket                      = "acme-data-pipes"
      key_prefix                  = "dagster-pipes"
      cleanup                     = "on_success"
      project                     = "acme-data"
      region                      = "europe-west1"
      log_view                    = null
      impersonate_service_account = null
    })
    error_message = "got ${jsonencode(output.resource)}"
  }
}

run "the_snippet_is_ready_to_paste" {
  variables {
    functions             = ["daily-orders", "customers"]
    dagster_impersonators = { jo = "user:jo@example.com" }
  }
  assert {
    condition     = output.snippet == file("tests/snippet.txt")
    error_message = "got ${output.snippet}"
  }
}
