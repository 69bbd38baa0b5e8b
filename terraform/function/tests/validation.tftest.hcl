# Each variable refuses what the platform would, before anything is planned.

mock_provider "google" {}

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

run "name" {
  command = plan
  variables {
    name = "orders-of-the-whole-company"
  }
  expect_failures = [var.name]
}

run "name_a_digit_first" {
  command = plan
  variables {
    name = "1orders"
  }
  expect_failures = [var.name]
}

run "name_of_the_bucket_of_the_messages" {
  command = plan
  variables {
    shared = merge(var.shared, { bucket = "acme-data-orders-source" })
  }
  expect_failures = [var.name]
}

run "source_archive" {
  command = plan
  variables {
    source_archive = "nowhere.zip"
  }
  expect_failures = [var.source_archive]
}

run "runtime" {
  command = plan
  variables {
    runtime = "python39"
  }
  expect_failures = [var.runtime]
}

run "memory" {
  command = plan
  variables {
    memory = "512"
  }
  expect_failures = [var.memory]
}

run "memory_a_part" {
  command = plan
  variables {
    memory = "0.5Gi"
  }
  expect_failures = [var.memory]
}

run "memory_too_little" {
  command = plan
  variables {
    memory = "127Mi"
  }
  expect_failures = [var.memory]
}

run "cpu" {
  command = plan
  variables {
    cpu = 3
  }
  expect_failures = [var.cpu]
}

run "cpu_too_little_for_more_than_512_mebibytes" {
  command = plan
  variables {
    cpu    = 0.4
    memory = "513Mi"
  }
  expect_failures = [var.cpu]
}

run "cpu_too_little_for_more_than_1_gibibyte" {
  command = plan
  variables {
    cpu    = 0.5
    memory = "2Gi"
  }
  expect_failures = [var.cpu]
}

run "cpu_too_little_for_more_than_4_gibibytes" {
  command = plan
  variables {
    memory = "5Gi"
  }
  expect_failures = [var.cpu]
}

run "cpu_too_little_for_more_than_8_gibibytes" {
  command = plan
  variables {
    cpu    = 2
    memory = "9Gi"
  }
  expect_failures = [var.cpu]
}

run "cpu_too_little_for_more_than_16_gibibytes" {
  command = plan
  variables {
    cpu    = 4
    memory = "17Gi"
  }
  expect_failures = [var.cpu]
}

run "cpu_too_little_for_more_than_24_gibibytes" {
  command = plan
  variables {
    cpu    = 6
    memory = "25Gi"
  }
  expect_failures = [var.cpu]
}

run "memory_of_more_than_32_gibibytes" {
  command = plan
  variables {
    cpu    = 8
    memory = "33Gi"
  }
  expect_failures = [var.cpu]
}

run "memory_too_little_for_4_cpus" {
  command = plan
  variables {
    cpu    = 4
    memory = "1Gi"
  }
  expect_failures = [var.cpu]
}

run "memory_too_little_for_8_cpus" {
  command = plan
  variables {
    cpu    = 8
    memory = "2Gi"
  }
  expect_failures = [var.cpu]
}

run "concurrency" {
  command = plan
  variables {
    concurrency = 0
  }
  expect_failures = [var.concurrency]
}

run "concurrency_too_much" {
  command = plan
  variables {
    concurrency = 1001
  }
  expect_failures = [var.concurrency]
}

run "concurrency_less_than_a_cpu" {
  command = plan
  variables {
    concurrency = 2
    cpu         = 0.5
  }
  expect_failures = [var.concurrency]
}

run "timeout" {
  command = plan
  variables {
    timeout = 0
  }
  expect_failures = [var.timeout]
}

run "timeout_too_long" {
  command = plan
  variables {
    timeout = 3601
  }
  expect_failures = [var.timeout]
}

run "min_instances" {
  command = plan
  variables {
    min_instances = -1
  }
  expect_failures = [var.min_instances]
}

run "max_instances" {
  command = plan
  variables {
    max_instances = 0
  }
  expect_failures = [var.max_instances]
}

run "max_instances_fewer_than_the_least" {
  command = plan
  variables {
    max_instances = 1
    min_instances = 2
  }
  expect_failures = [var.max_instances]
}

run "ingress" {
  command = plan
  variables {
    ingress = "ALL"
  }
  expect_failures = [var.ingress]
}

run "vpc" {
  command = plan
  variables {
    vpc = {}
  }
  expect_failures = [var.vpc]
}

run "vpc_both" {
  command = plan
  variables {
    vpc = { connector = "main", network = "main" }
  }
  expect_failures = [var.vpc]
}

run "environment_of_the_module" {
  command = plan
  variables {
    environment = { THREADS = "4" }
  }
  expect_failures = [var.environment]
}

run "environment_of_the_platform" {
  command = plan
  variables {
    environment = { PORT = "80" }
  }
  expect_failures = [var.environment]
}

run "environment_with_a_hyphen" {
  command = plan
  variables {
    environment = { TABLE-NAME = "orders" }
  }
  expect_failures = [var.environment]
}

run "secrets_with_a_version" {
  command = plan
  variables {
    secrets = { shop = { secret = "projects/p/secrets/shop/versions/1", variable = "KEY" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_version" {
  command = plan
  variables {
    secrets = { shop = { secret = "shop", version = "newest", variable = "KEY" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_twice" {
  command = plan
  variables {
    secrets = { a = { secret = "shop", variable = "A" }, b = { secret = "projects/acme-data/secrets/shop", variable = "B" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_for_nothing" {
  command = plan
  variables {
    secrets = { shop = { secret = "shop" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_variable_of_the_module" {
  command = plan
  variables {
    secrets = { shop = { secret = "shop", variable = "GCF_PIPES_BUCKETS" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_variable_of_the_platform" {
  command = plan
  variables {
    secrets = { shop = { secret = "shop", variable = "K_SERVICE" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_variable_of_environment" {
  command = plan
  variables {
    environment = { KEY = "1" }
    secrets     = { shop = { secret = "shop", variable = "KEY" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_variable_twice" {
  command = plan
  variables {
    secrets = { a = { secret = "a", variable = "KEY" }, b = { secret = "b", variable = "KEY" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_file_without_a_folder" {
  command = plan
  variables {
    secrets = { shop = { secret = "shop", file = "/key.pem" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_two_in_one_folder" {
  command = plan
  variables {
    secrets = { a = { secret = "a", file = "/secrets/a" }, b = { secret = "b", file = "/secrets/b" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_variable_empty" {
  command = plan
  variables {
    secrets = { shop = { secret = "shop", variable = "" } }
  }
  expect_failures = [var.secrets]
}

run "secrets_file_that_leaves_its_folder" {
  command = plan
  variables {
    secrets = { shop = { secret = "shop", file = "/secrets/../key.pem" } }
  }
  expect_failures = [var.secrets]
}

run "invokers_everybody" {
  command = plan
  variables {
    invokers = { all = "allUsers" }
  }
  expect_failures = [var.invokers]
}

run "invokers_twice" {
  command = plan
  variables {
    invokers = { a = "user:jo@example.com", b = "user:jo@example.com" }
  }
  expect_failures = [var.invokers]
}

run "invokers_dagster" {
  command = plan
  variables {
    invokers = { dagster = "serviceAccount:pipes-dagster@acme-data.iam.gserviceaccount.com" }
  }
  expect_failures = [var.invokers]
}

# A module called with for_each passes null for what an entry leaves out.
run "null_is_the_default" {
  command = plan
  variables {
    entry_point           = null
    runtime               = null
    memory                = null
    cpu                   = null
    concurrency           = null
    timeout               = null
    min_instances         = null
    max_instances         = null
    ingress               = null
    environment           = null
    build_environment     = null
    secrets               = null
    invokers              = null
    serve_latest_revision = null
  }
  assert {
    condition     = [var.entry_point, var.runtime, var.memory, var.cpu, var.timeout, var.ingress, var.serve_latest_revision] == ["main", "python313", "512Mi", 1, 540, "ALLOW_ALL", true]
    error_message = "null is not the default"
  }
}
