# Each binding: on what, which role, whose, under which condition. Applied against a mock of the provider: no cloud, no
# credentials. tests/terraform holds that there is no other binding.

mock_provider "google" {
  mock_resource "google_cloudfunctions2_function" {
    defaults = {
      id = "projects/acme-data/locations/europe-west1/functions/orders"
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
    key_prefix              = "team/pipes"
    dagster_service_account = "pipes-dagster@acme-data.iam.gserviceaccount.com"
    deployers               = { ci = "serviceAccount:ci@acme-data.iam.gserviceaccount.com" }
    build_service_account   = null
    worker_pool             = null
    docker_repository       = "projects/acme-data/locations/europe-west1/repositories/pipes"
    kms_key                 = null
    labels                  = {}
    alerts                  = null
  }
  name           = "orders"
  source_archive = "versions.tf"
  invokers       = { monitor = "serviceAccount:monitor@acme-data.iam.gserviceaccount.com" }
  secrets = {
    shop = { secret = "shop-key", variable = "SHOP_API_KEY" }
    tls  = { secret = "projects/acme-keys/secrets/tls", version = "3", file = "/secrets/tls/key.pem" }
  }
}

run "bindings" {
  assert {
    condition = [
      google_storage_bucket_iam_member.function_creates.bucket,
      google_storage_bucket_iam_member.function_creates.role,
      google_storage_bucket_iam_member.function_creates.member,
      google_storage_bucket_iam_member.function_creates.condition[0].expression,
      ] == [
      "acme-data-pipes",
      "roles/storage.objectCreator",
      "serviceAccount:orders-function@acme-data.iam.gserviceaccount.com",
      "resource.name.startsWith(\"projects/_/buckets/acme-data-pipes/objects/team/pipes/\")",
    ]
    error_message = "got ${jsonencode(google_storage_bucket_iam_member.function_creates)}"
  }
  assert {
    condition = [
      google_storage_bucket_iam_member.function_reads.bucket,
      google_storage_bucket_iam_member.function_reads.role,
      google_storage_bucket_iam_member.function_reads.member,
      google_storage_bucket_iam_member.function_reads.condition[0].expression,
      ] == [
      "acme-data-pipes",
      "roles/storage.objectViewer",
      "serviceAccount:orders-function@acme-data.iam.gserviceaccount.com",
      "resource.name.startsWith(\"projects/_/buckets/acme-data-pipes/objects/team/pipes/\") || resource.name == \"projects/_/buckets/acme-data-pipes\"",
    ]
    error_message = "got ${jsonencode(google_storage_bucket_iam_member.function_reads)}"
  }
  assert {
    condition = { for key, binding in google_secret_manager_secret_iam_member.function : key => [binding.project, binding.secret_id, binding.role, binding.member] } == {
      shop = ["acme-data", "shop-key", "roles/secretmanager.secretAccessor", "serviceAccount:orders-function@acme-data.iam.gserviceaccount.com"]
      tls  = ["acme-keys", "tls", "roles/secretmanager.secretAccessor", "serviceAccount:orders-function@acme-data.iam.gserviceaccount.com"]
    }
    error_message = "got ${jsonencode(google_secret_manager_secret_iam_member.function)}"
  }
  assert {
    condition = { for key, binding in google_service_account_iam_member.deployers : key => [binding.service_account_id, binding.role, binding.member] } == {
      ci = ["projects/acme-data/serviceAccounts/orders-function@acme-data.iam.gserviceaccount.com", "roles/iam.serviceAccountUser", "serviceAccount:ci@acme-data.iam.gserviceaccount.com"]
    }
    error_message = "got ${jsonencode(google_service_account_iam_member.deployers)}"
  }
  assert {
    condition = [
      google_cloud_run_v2_service_iam_member.dagster_invokes.name,
      google_cloud_run_v2_service_iam_member.dagster_invokes.role,
      google_cloud_run_v2_service_iam_member.dagster_invokes.member,
    ] == ["orders-beneath", "roles/run.invoker", "serviceAccount:pipes-dagster@acme-data.iam.gserviceaccount.com"]
    error_message = "got ${jsonencode(google_cloud_run_v2_service_iam_member.dagster_invokes)}"
  }
  assert {
    condition = { for key, binding in google_cloud_run_v2_service_iam_member.invokers : key => [binding.name, binding.role, binding.member] } == {
      monitor = ["orders-beneath", "roles/run.invoker", "serviceAccount:monitor@acme-data.iam.gserviceaccount.com"]
    }
    error_message = "got ${jsonencode(google_cloud_run_v2_service_iam_member.invokers)}"
  }
  assert {
    condition = [
      google_cloudfunctions2_function_iam_member.dagster_views.cloud_function,
      google_cloudfunctions2_function_iam_member.dagster_views.role,
      google_cloudfunctions2_function_iam_member.dagster_views.member,
    ] == ["orders", "roles/cloudfunctions.viewer", "serviceAccount:pipes-dagster@acme-data.iam.gserviceaccount.com"]
    error_message = "got ${jsonencode(google_cloudfunctions2_function_iam_member.dagster_views)}"
  }
}

run "nobody_else_by_default" {
  variables {
    invokers = {}
    secrets  = {}
    shared   = merge(var.shared, { deployers = {} })
  }
  assert {
    condition     = length(google_secret_manager_secret_iam_member.function) + length(google_service_account_iam_member.deployers) + length(google_cloud_run_v2_service_iam_member.invokers) == 0
    error_message = "somebody may do more"
  }
}

run "outputs" {
  assert {
    condition = [output.function, output.url, output.service, output.service_account, output.source_bucket] == [
      "projects/acme-data/locations/europe-west1/functions/orders",
      "https://orders-beneath-ew.a.run.app",
      "orders-beneath",
      "orders-function@acme-data.iam.gserviceaccount.com",
      "acme-data-orders-source",
    ]
    error_message = "got ${jsonencode([output.function, output.url, output.service, output.service_account, output.source_bucket])}"
  }
}
