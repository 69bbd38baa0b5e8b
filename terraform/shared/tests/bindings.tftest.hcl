# Each binding: on what, which role, whose, under which condition. Applied against a mock of the provider: no cloud, no
# credentials. tests/terraform holds that there is no other binding.

mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = {
      email  = "pipes-dagster@acme-data.iam.gserviceaccount.com"
      member = "serviceAccount:pipes-dagster@acme-data.iam.gserviceaccount.com"
    }
  }
  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
}

variables {
  project    = "acme-data"
  region     = "europe-west1"
  key_prefix = "team/pipes"
}

run "bindings" {
  variables {
    dagster_impersonators = {
      jo   = "user:jo@example.com"
      pod  = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/acme-data.svc.id.goog/subject/ns/dagster/sa/runs"
      pool = "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/*"
      old  = "serviceAccount:acme-data.svc.id.goog[dagster/runs]"
      vm   = "serviceAccount:vm@acme-data.iam.gserviceaccount.com"
    }
    log_view              = { location = "europe-west1", bucket = "regional" }
    build_service_account = { email = "builder@acme-data.iam.gserviceaccount.com" }
    deployers             = { ci = "serviceAccount:ci@acme-data.iam.gserviceaccount.com" }
    kms_key               = { id = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes" }
  }
  assert {
    condition = [
      google_storage_bucket_iam_member.dagster_reads.bucket,
      google_storage_bucket_iam_member.dagster_reads.role,
      google_storage_bucket_iam_member.dagster_reads.member,
      google_storage_bucket_iam_member.dagster_reads.condition[0].expression,
      ] == [
      "acme-data-pipes",
      "roles/storage.objectViewer",
      "serviceAccount:pipes-dagster@acme-data.iam.gserviceaccount.com",
      "resource.name.startsWith(\"projects/_/buckets/acme-data-pipes/objects/team/pipes/\") || resource.name == \"projects/_/buckets/acme-data-pipes\"",
    ]
    error_message = "got ${jsonencode(google_storage_bucket_iam_member.dagster_reads)}"
  }
  assert {
    condition = [
      google_storage_bucket_iam_member.dagster_writes.bucket,
      google_storage_bucket_iam_member.dagster_writes.role,
      google_storage_bucket_iam_member.dagster_writes.member,
      google_storage_bucket_iam_member.dagster_writes.condition[0].expression,
      ] == [
      "acme-data-pipes",
      "roles/storage.objectUser",
      "serviceAccount:pipes-dagster@acme-data.iam.gserviceaccount.com",
      "resource.name.startsWith(\"projects/_/buckets/acme-data-pipes/objects/team/pipes/\")",
    ]
    error_message = "got ${jsonencode(google_storage_bucket_iam_member.dagster_writes)}"
  }
  assert {
    condition = { for key, binding in google_service_account_iam_member.dagster_impersonators : key => [binding.service_account_id, binding.role, binding.member] } == {
      jo   = ["projects/-/serviceAccounts/pipes-dagster@acme-data.iam.gserviceaccount.com", "roles/iam.serviceAccountTokenCreator", "user:jo@example.com"]
      pod  = ["projects/-/serviceAccounts/pipes-dagster@acme-data.iam.gserviceaccount.com", "roles/iam.workloadIdentityUser", "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/acme-data.svc.id.goog/subject/ns/dagster/sa/runs"]
      pool = ["projects/-/serviceAccounts/pipes-dagster@acme-data.iam.gserviceaccount.com", "roles/iam.workloadIdentityUser", "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/*"]
      old  = ["projects/-/serviceAccounts/pipes-dagster@acme-data.iam.gserviceaccount.com", "roles/iam.workloadIdentityUser", "serviceAccount:acme-data.svc.id.goog[dagster/runs]"]
      vm   = ["projects/-/serviceAccounts/pipes-dagster@acme-data.iam.gserviceaccount.com", "roles/iam.serviceAccountTokenCreator", "serviceAccount:vm@acme-data.iam.gserviceaccount.com"]
    }
    error_message = "got ${jsonencode(google_service_account_iam_member.dagster_impersonators)}"
  }
  assert {
    condition = { for key, binding in google_service_account_iam_member.deployers : key => [binding.service_account_id, binding.role, binding.member] } == {
      ci = ["projects/-/serviceAccounts/builder@acme-data.iam.gserviceaccount.com", "roles/iam.serviceAccountUser", "serviceAccount:ci@acme-data.iam.gserviceaccount.com"]
    }
    error_message = "got ${jsonencode(google_service_account_iam_member.deployers)}"
  }
  assert {
    condition = [for binding in google_logging_log_view_iam_member.dagster : [binding.parent, binding.location, binding.bucket, binding.name, binding.role, binding.member]] == [
      ["projects/acme-data", "europe-west1", "regional", "pipes-dagster", "roles/logging.viewAccessor", "serviceAccount:pipes-dagster@acme-data.iam.gserviceaccount.com"],
    ]
    error_message = "got ${jsonencode(google_logging_log_view_iam_member.dagster)}"
  }
  assert {
    condition = { for key, binding in google_kms_crypto_key_iam_member.agents : key => [binding.crypto_key_id, binding.role, binding.member] } == {
      for key, agent in { artifact_registry = "gcp-sa-artifactregistry", functions = "gcf-admin-robot", run = "serverless-robot-prod", storage = "gs-project-accounts" } :
      key => ["projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes", "roles/cloudkms.cryptoKeyEncrypterDecrypter", "serviceAccount:service-123456789012@${agent}.iam.gserviceaccount.com"]
    }
    error_message = "got ${jsonencode(google_kms_crypto_key_iam_member.agents)}"
  }
}

run "nobody_else_by_default" {
  assert {
    condition     = length(google_service_account_iam_member.dagster_impersonators) + length(google_service_account_iam_member.deployers) + length(google_logging_log_view.dagster) + length(google_logging_log_view_iam_member.dagster) + length(google_kms_crypto_key_iam_member.agents) == 0
    error_message = "somebody may do more"
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

run "a_given_account_is_dagsters" {
  variables {
    dagster_service_account = { email = "dagster@other-project.iam.gserviceaccount.com" }
    dagster_impersonators   = { jo = "user:jo@example.com" }
  }
  assert {
    condition     = length(google_service_account.dagster) == 0
    error_message = "another account is made"
  }
  assert {
    condition = [google_storage_bucket_iam_member.dagster_reads.member, google_storage_bucket_iam_member.dagster_writes.member, google_service_account_iam_member.dagster_impersonators["jo"].service_account_id, output.resource.impersonate_service_account, output.dagster_service_account] == [
      "serviceAccount:dagster@other-project.iam.gserviceaccount.com", "serviceAccount:dagster@other-project.iam.gserviceaccount.com", "projects/-/serviceAccounts/dagster@other-project.iam.gserviceaccount.com", "dagster@other-project.iam.gserviceaccount.com", "dagster@other-project.iam.gserviceaccount.com",
    ]
    error_message = "something has another account"
  }
}

run "the_owner_of_the_key_grants_its_use" {
  variables {
    kms_key = { id = "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes", grant = false }
  }
  assert {
    condition     = length(google_kms_crypto_key_iam_member.agents) == 0 && google_storage_bucket.messages.encryption[0].default_kms_key_name == "projects/acme-keys/locations/europe-west1/keyRings/data/cryptoKeys/pipes"
    error_message = "the module grants it, or the key is not used"
  }
}
