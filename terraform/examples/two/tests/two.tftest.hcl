# Planned against a mock of the provider: a key of `for_each` or a `count` that is not known by then is an error.

mock_provider "google" {}

variables {
  project        = "acme-data"
  archives       = "tests/archives"
  source_archive = "main.tf"
}

run "what_is_made_in_the_same_root_works_in_one_apply" {
  command = plan

  module {
    source = "./tests/one_apply"
  }
}

run "two_functions_share_a_bucket_an_account_and_a_resource" {
  command = plan

  assert {
    condition     = keys(module.functions) == ["customers", "orders"]
    error_message = "got ${jsonencode(keys(module.functions))}"
  }
  assert {
    condition     = module.shared.bucket == "acme-data-pipes"
    error_message = "got ${module.shared.bucket}"
  }
}
