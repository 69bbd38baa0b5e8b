# Two functions with one bucket, one account of Dagster and one Dagster resource.

provider "google" {
  project               = var.project
  region                = var.region
  billing_project       = var.project
  user_project_override = true # else a person's login needs a quota project
}

locals {
  functions = {
    orders    = { timeout = 1800, concurrency = 8 }
    customers = { timeout = 300, concurrency = 1 }
  }
}

module "shared" {
  source = "../../shared"

  project               = var.project
  region                = var.region
  functions             = keys(local.functions)
  build_service_account = var.build_service_account
  dagster_impersonators = var.dagster_impersonators
}

module "functions" {
  source   = "../../function"
  for_each = local.functions

  shared         = module.shared
  name           = each.key
  source_archive = "${var.archives}/${each.key}.zip"
  timeout        = each.value.timeout
  concurrency    = each.value.concurrency
}
