# Applied against a mock of the provider: no cloud, no credentials. Any file will do for an archive.

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
      email  = "dagster@acme-data.iam.gserviceaccount.com"
      member = "serviceAccount:dagster@acme-data.iam.gserviceaccount.com"
    }
  }
}

variables {
  project        = "acme-data"
  region         = "europe-west1"
  name           = "orders"
  source_archive = "versions.tf"
}

run "the_hash_of_the_archive_is_in_the_name_of_the_object" {
  assert {
    condition     = google_storage_bucket_object.source.name == "orders-${filesha256("versions.tf")}.zip"
    error_message = "got ${google_storage_bucket_object.source.name}"
  }
  assert {
    condition     = google_cloudfunctions2_function.this.build_config[0].source[0].storage_source[0].object == google_storage_bucket_object.source.name
    error_message = "the function is built from another object"
  }
}

run "another_archive_has_another_name" {
  variables {
    source_archive = "outputs.tf"
  }
  assert {
    condition     = google_storage_bucket_object.source.name == "orders-${filesha256("outputs.tf")}.zip"
    error_message = "got ${google_storage_bucket_object.source.name}"
  }
}

run "an_idle_function_costs_nothing" {
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].min_instance_count == 0
    error_message = "instances are kept while there are no calls"
  }
}

run "there_are_as_many_threads_as_requests" {
  variables {
    concurrency = 40
    environment = { TABLE = "orders" }
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].max_instance_request_concurrency == 40
    error_message = "the concurrency is another"
  }
  assert {
    condition = google_cloudfunctions2_function.this.service_config[0].environment_variables == tomap({
      GCF_PIPES_BUCKETS    = "acme-data-orders-pipes"
      GCF_PIPES_KEY_PREFIX = "dagster-pipes"
      LOG_EXECUTION_ID     = "true"
      TABLE                = "orders"
      THREADS              = "40"
    })
    error_message = "got ${jsonencode(google_cloudfunctions2_function.this.service_config[0].environment_variables)}"
  }
}

run "messages_are_private_and_deleted_in_the_end" {
  assert {
    condition     = one(google_storage_bucket.messages.lifecycle_rule[0].condition).matches_prefix == tolist(["dagster-pipes/"])
    error_message = "the rule is for other objects than the default prefix of the Dagster resource"
  }
  assert {
    condition     = one(google_storage_bucket.messages.lifecycle_rule[0].condition).age == 7 && one(google_storage_bucket.messages.lifecycle_rule[0].action).type == "Delete"
    error_message = "the rule does something else"
  }
  assert {
    condition     = google_storage_bucket.messages.soft_delete_policy[0].retention_duration_seconds == 0
    error_message = "soft delete is on"
  }
  assert {
    condition     = alltrue([for bucket in [google_storage_bucket.messages, google_storage_bucket.source] : bucket.uniform_bucket_level_access && bucket.public_access_prevention == "enforced"])
    error_message = "a bucket is not private"
  }
  assert {
    condition     = length(google_storage_bucket.messages.encryption) == 0
    error_message = "there is a key that nobody gave"
  }
}

run "the_prefix_is_the_same_everywhere" {
  variables {
    key_prefix = "team/pipes"
  }
  assert {
    condition     = one(google_storage_bucket.messages.lifecycle_rule[0].condition).matches_prefix == tolist(["team/pipes/"])
    error_message = "the lifecycle rule has another prefix"
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].environment_variables.GCF_PIPES_KEY_PREFIX == "team/pipes"
    error_message = "the function has another prefix"
  }
  assert {
    condition = toset([for member in [
      google_storage_bucket_iam_member.function_creates,
      google_storage_bucket_iam_member.function_reads,
      google_storage_bucket_iam_member.dagster_reads,
      google_storage_bucket_iam_member.dagster_writes,
      ] : member.condition[0].expression]) == toset([
      "resource.name.startsWith(\"projects/_/buckets/acme-data-orders-pipes/objects/team/pipes/\")",
      "resource.name.startsWith(\"projects/_/buckets/acme-data-orders-pipes/objects/team/pipes/\") || resource.name == \"projects/_/buckets/acme-data-orders-pipes\"",
    ])
    error_message = "a condition has another prefix"
  }
  assert {
    condition     = output.resource.key_prefix == "team/pipes"
    error_message = "the Dagster resource has another prefix"
  }
}

run "dagster_invokes_one_service" {
  assert {
    condition     = google_cloud_run_v2_service_iam_member.dagster_invokes.role == "roles/run.invoker" && google_cloud_run_v2_service_iam_member.dagster_invokes.name == "orders-beneath"
    error_message = "got ${google_cloud_run_v2_service_iam_member.dagster_invokes.role} on ${google_cloud_run_v2_service_iam_member.dagster_invokes.name}"
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.dagster_invokes.member == "serviceAccount:dagster@acme-data.iam.gserviceaccount.com"
    error_message = "got ${google_cloud_run_v2_service_iam_member.dagster_invokes.member}"
  }
}

run "each_account_has_its_roles_on_the_messages" {
  assert {
    condition     = [google_storage_bucket_iam_member.function_creates.role, google_storage_bucket_iam_member.function_reads.role] == ["roles/storage.objectCreator", "roles/storage.objectViewer"]
    error_message = "the function has other roles"
  }
  assert {
    condition     = [google_storage_bucket_iam_member.dagster_writes.role, google_storage_bucket_iam_member.dagster_reads.role] == ["roles/storage.objectUser", "roles/storage.objectViewer"]
    error_message = "Dagster has other roles"
  }
}

run "without_cleanup_dagster_deletes_nothing" {
  variables {
    cleanup = "never"
  }
  assert {
    condition     = google_storage_bucket_iam_member.dagster_writes.role == "roles/storage.objectCreator"
    error_message = "got ${google_storage_bucket_iam_member.dagster_writes.role}"
  }
}

run "by_default_dagster_views_the_function_and_no_logs" {
  assert {
    condition     = google_cloudfunctions2_function_iam_member.dagster_views[0].role == "roles/cloudfunctions.viewer"
    error_message = "got ${google_cloudfunctions2_function_iam_member.dagster_views[0].role}"
  }
  assert {
    condition     = length(google_logging_log_view_iam_member.dagster) + length(google_logging_log_view.dagster) + length(google_service_account_iam_member.dagster_impersonators) == 0
    error_message = "Dagster has more"
  }
}

run "dagster_views_what_it_is_allowed_to" {
  variables {
    dagster_views_function = false
    dagster_views_logs     = true
  }
  assert {
    condition     = length(google_cloudfunctions2_function_iam_member.dagster_views) == 0
    error_message = "Dagster views the function"
  }
  assert {
    condition     = google_logging_log_view_iam_member.dagster[0].role == "roles/logging.viewAccessor" && google_logging_log_view_iam_member.dagster[0].name == "orders-dagster"
    error_message = "Dagster has another role, or on another view"
  }
  assert {
    condition     = output.resource.log_view == google_logging_log_view.dagster[0].id
    error_message = "the resource does not read the logs through the view"
  }
}

run "a_given_account_is_dagsters" {
  variables {
    dagster_service_account = "dagster@other-project.iam.gserviceaccount.com"
    dagster_impersonators   = ["user:jo@example.com"]
  }
  assert {
    condition     = length(google_service_account.dagster) == 0
    error_message = "another account is made"
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.dagster_invokes.member == "serviceAccount:dagster@other-project.iam.gserviceaccount.com"
    error_message = "got ${google_cloud_run_v2_service_iam_member.dagster_invokes.member}"
  }
  assert {
    condition     = google_service_account_iam_member.dagster_impersonators["user:jo@example.com"].service_account_id == "projects/-/serviceAccounts/dagster@other-project.iam.gserviceaccount.com"
    error_message = "another account can be acted as"
  }
  assert {
    condition     = output.resource.impersonate_service_account == "dagster@other-project.iam.gserviceaccount.com"
    error_message = "the Dagster resource does not impersonate it"
  }
}

run "a_secret_can_be_read_by_the_function" {
  variables {
    secrets = { API_KEY = { secret = "shop-key" } }
  }
  assert {
    condition     = google_secret_manager_secret_iam_member.function["shop-key"].role == "roles/secretmanager.secretAccessor"
    error_message = "it cannot"
  }
  assert {
    condition     = one(google_cloudfunctions2_function.this.service_config[0].secret_environment_variables).version == "latest"
    error_message = "it is another version"
  }
}

run "a_key_encrypts_the_messages" {
  variables {
    kms_key = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes"
  }
  assert {
    condition     = google_storage_bucket.messages.encryption[0].default_kms_key_name == "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes"
    error_message = "it does not"
  }
}

run "a_connector_leads_into_the_network" {
  variables {
    vpc = { connector = "projects/acme-data/locations/europe-west1/connectors/main" }
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].vpc_connector_egress_settings == "PRIVATE_RANGES_ONLY" && length(google_cloudfunctions2_function.this.service_config[0].direct_vpc_network_interface) == 0
    error_message = "it does not, or direct egress is on as well"
  }
}

run "direct_egress_leads_into_the_network" {
  variables {
    vpc = { network = "main", subnetwork = "functions", all_traffic = true }
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].direct_vpc_egress == "VPC_EGRESS_ALL_TRAFFIC" && google_cloudfunctions2_function.this.service_config[0].direct_vpc_network_interface[0].subnetwork == "functions"
    error_message = "it does not"
  }
  assert {
    condition     = google_cloudfunctions2_function.this.service_config[0].vpc_connector == null
    error_message = "there is a connector as well"
  }
}

run "the_output_is_the_fields_of_the_dagster_resource" {
  assert {
    condition = jsonencode(output.resource) == jsonencode({
      bucket                      = "acme-data-orders-pipes"
      key_prefix                  = "dagster-pipes"
      function_timeout            = 540
      cleanup                     = "on_success"
      project                     = "acme-data"
      region                      = "europe-west1"
      log_view                    = null
      impersonate_service_account = null
    })
    error_message = "got ${jsonencode(output.resource)}"
  }
  assert {
    condition     = !strcontains(output.snippet, "impersonate")
    error_message = "got ${output.snippet}"
  }
}

run "the_snippet_is_ready_to_paste" {
  variables {
    name                  = "daily-orders"
    dagster_impersonators = ["user:jo@example.com"]
  }
  assert {
    condition     = output.snippet == file("tests/snippet.txt")
    error_message = "got ${output.snippet}"
  }
}

run "without_the_look_up_the_snippet_has_the_url" {
  variables {
    dagster_views_function = false
  }
  assert {
    condition     = strcontains(output.snippet, "function_url=\"https://orders-beneath-ew.a.run.app\"")
    error_message = "got ${output.snippet}"
  }
}
