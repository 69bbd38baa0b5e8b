# Everything that the modules can be given is made in the same root: nothing of it is known when Terraform plans.

variable "source_archive" {
  description = "Any file."
  type        = string
}

resource "google_service_account" "dagster" {
  project    = "acme-data"
  account_id = "dagster"
}

resource "google_service_account" "builder" {
  project    = "acme-data"
  account_id = "builder"
}

resource "google_service_account" "deployer" {
  project    = "acme-data"
  account_id = "deployer"
}

resource "google_iam_workload_identity_pool" "dagster" {
  project                   = "acme-data"
  workload_identity_pool_id = "dagster"
}

resource "google_secret_manager_secret" "this" {
  for_each = toset(["shop", "tls"])

  project   = "acme-data"
  secret_id = each.key

  replication {
    auto {}
  }
}

resource "google_kms_crypto_key" "this" {
  name     = "pipes"
  key_ring = "projects/acme-data/locations/europe-west1/keyRings/data"
}

resource "google_monitoring_notification_channel" "email" {
  project = "acme-data"
  type    = "email"
  labels  = { email_address = "data@example.com" }
}

module "shared" {
  source = "../../../../shared"

  project                 = "acme-data"
  region                  = "europe-west1"
  functions               = ["orders"]
  dagster_service_account = { email = google_service_account.dagster.email }
  dagster_impersonators   = { pool = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.dagster.name}/*" }
  deployers               = { ci = google_service_account.deployer.member }
  build_service_account   = { email = google_service_account.builder.email }
  kms_key                 = { id = google_kms_crypto_key.this.id }
  alerts                  = { notification_channels = [google_monitoring_notification_channel.email.id], max_objects = 50000 }
  log_view                = {}
}

module "orders" {
  source = "../../../../function"

  shared         = module.shared
  name           = "orders"
  source_archive = var.source_archive
  invokers       = { deployer = google_service_account.deployer.member }
  secrets = {
    shop = { secret = google_secret_manager_secret.this["shop"].id, variable = "SHOP_API_KEY" }
    tls  = { secret = google_secret_manager_secret.this["tls"].id, file = "/secrets/tls/key.pem" }
  }
}
