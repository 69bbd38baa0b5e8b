# Each variable refuses what the platform would, before anything is planned.

mock_provider "google" {}

variables {
  project        = "acme-data"
  region         = "europe-west1"
  name           = "orders"
  source_archive = "versions.tf"
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
    name = "orders-of-the-whole-company"
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

run "cpu" {
  command = plan
  variables {
    cpu = 3
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

run "environment" {
  command = plan
  variables {
    environment = { THREADS = "8" }
  }
  expect_failures = [var.environment]
}

run "build_service_account" {
  command = plan
  variables {
    build_service_account = "projects/p/serviceAccounts/builder"
  }
  expect_failures = [var.build_service_account]
}

run "key_prefix" {
  command = plan
  variables {
    key_prefix = "/pipes/"
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

run "kms_key" {
  command = plan
  variables {
    kms_key = "pipes"
  }
  expect_failures = [var.kms_key]
}

run "dagster_service_account" {
  command = plan
  variables {
    dagster_service_account = "jo@example.com"
  }
  expect_failures = [var.dagster_service_account]
}

run "dagster_impersonators" {
  command = plan
  variables {
    dagster_impersonators = ["allUsers"]
  }
  expect_failures = [var.dagster_impersonators]
}
