# Deploys cloud_function/ of this repository, with a bucket for its tables.

provider "google" {
  project               = var.project
  region                = var.region
  billing_project       = var.project
  user_project_override = true # else a person's login needs a quota project
}

module "shared" {
  source = "../../shared"

  project               = var.project
  region                = var.region
  name                  = var.name
  functions             = [var.name]
  build_service_account = var.build_service_account
  dagster_impersonators = var.dagster_impersonators
}

module "function" {
  source = "../../function"

  shared         = module.shared
  name           = var.name
  source_archive = var.source_archive
  memory         = "1Gi"
  concurrency    = 4
}

resource "google_storage_bucket" "lake" {
  project  = var.project
  name     = "${var.project}-${var.name}-lake"
  location = var.region

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  depends_on = [module.shared] # which enables the APIs
}

resource "google_storage_bucket_iam_member" "function_writes_tables" {
  bucket = google_storage_bucket.lake.name
  role   = "roles/storage.objectUser"
  member = "serviceAccount:${module.function.service_account}"
}

resource "google_storage_bucket_object" "weather" {
  bucket = google_storage_bucket.lake.name
  name   = "weather.csv"
  source = "${path.module}/../../../examples/data/weather.csv"
}
