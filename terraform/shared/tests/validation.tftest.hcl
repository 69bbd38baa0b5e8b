# Each variable refuses what the platform would, before anything is planned.

mock_provider "google" {}

variables {
  project = "acme-data"
  region  = "europe-west1"
}

run "project" {
  command = plan
  variables {
    project = "Acme Data"
  }
  expect_failures = [var.project]
}

run "region" {
  command = plan
  variables {
    region = "EU"
  }
  expect_failures = [var.region]
}

run "region_a_zone" {
  command = plan
  variables {
    region = "europe-west1-b"
  }
  expect_failures = [var.region]
}

run "name" {
  command = plan
  variables {
    name = "what-the-whole-company-shares"
  }
  expect_failures = [var.name]
}

run "name_of_a_source_bucket" {
  command = plan
  variables {
    name      = "orders-source"
    functions = ["orders"]
  }
  expect_failures = [var.name]
}

run "functions" {
  command = plan
  variables {
    functions = ["Orders"]
  }
  expect_failures = [var.functions]
}

run "functions_a_keyword" {
  command = plan
  variables {
    functions = ["import"]
  }
  expect_failures = [var.functions]
}

run "functions_a_name_of_the_snippet" {
  command = plan
  variables {
    functions = ["cloud-function"]
  }
  expect_failures = [var.functions]
}

run "key_prefix" {
  command = plan
  variables {
    key_prefix = "/pipes/"
  }
  expect_failures = [var.key_prefix]
}

run "key_prefix_with_dots" {
  command = plan
  variables {
    key_prefix = "pipes/../other"
  }
  expect_failures = [var.key_prefix]
}

run "key_prefix_too_long" {
  command = plan
  variables {
    key_prefix = join("", [for _ in range(501) : "a"])
  }
  expect_failures = [var.key_prefix]
}

run "message_age" {
  command = plan
  variables {
    message_age = 0
  }
  expect_failures = [var.message_age]
}

run "cleanup" {
  command = plan
  variables {
    cleanup = "sometimes"
  }
  expect_failures = [var.cleanup]
}

run "dagster_service_account" {
  command = plan
  variables {
    dagster_service_account = { email = "jo@example.com" }
  }
  expect_failures = [var.dagster_service_account]
}

run "dagster_impersonators" {
  command = plan
  variables {
    dagster_impersonators = { all = "allUsers" }
  }
  expect_failures = [var.dagster_impersonators]
}

run "dagster_impersonators_twice" {
  command = plan
  variables {
    dagster_impersonators = { a = "user:jo@example.com", b = "user:jo@example.com" }
  }
  expect_failures = [var.dagster_impersonators]
}

run "deployers" {
  command = plan
  variables {
    deployers = { all = "allAuthenticatedUsers" }
  }
  expect_failures = [var.deployers]
}

run "deployers_twice" {
  command = plan
  variables {
    deployers = { a = "user:jo@example.com", b = "user:jo@example.com" }
  }
  expect_failures = [var.deployers]
}

run "build_service_account" {
  command = plan
  variables {
    build_service_account = { email = "projects/p/serviceAccounts/builder" }
  }
  expect_failures = [var.build_service_account]
}

run "worker_pool" {
  command = plan
  variables {
    worker_pool = "private"
  }
  expect_failures = [var.worker_pool]
}

run "kept_images" {
  command = plan
  variables {
    kept_images = 0
  }
  expect_failures = [var.kept_images]
}

run "kms_key" {
  command = plan
  variables {
    kms_key = { id = "pipes" }
  }
  expect_failures = [var.kms_key]
}

run "kms_key_of_another_location" {
  command = plan
  variables {
    kms_key = { id = "projects/acme-keys/locations/us/keyRings/data/cryptoKeys/pipes" }
  }
  expect_failures = [var.kms_key]
}

run "labels" {
  command = plan
  variables {
    labels = { Team = "data" }
  }
  expect_failures = [var.labels]
}

run "alerts" {
  command = plan
  variables {
    alerts = { notification_channels = [] }
  }
  expect_failures = [var.alerts]
}

run "alerts_an_address" {
  command = plan
  variables {
    alerts = { notification_channels = ["jo@example.com"] }
  }
  expect_failures = [var.alerts]
}

run "alerts_of_no_objects" {
  command = plan
  variables {
    alerts = { notification_channels = ["projects/acme-data/notificationChannels/1"], max_objects = 0 }
  }
  expect_failures = [var.alerts]
}

# A caller that passes on its own variables passes null for what it does not set.
run "null_is_the_default" {
  command = plan
  variables {
    name                  = null
    functions             = null
    key_prefix            = null
    message_age           = null
    cleanup               = null
    dagster_impersonators = null
    deployers             = null
    kept_images           = null
    labels                = null
    enable_apis           = null
  }
  assert {
    condition     = [var.name, var.key_prefix, var.message_age, var.cleanup, var.kept_images, var.enable_apis] == ["pipes", "dagster-pipes", 7, "on_success", 5, true]
    error_message = "null is not the default"
  }
}
