locals {
  resource = {
    bucket                      = google_storage_bucket.messages.name
    key_prefix                  = var.key_prefix
    function_timeout            = var.timeout
    cleanup                     = var.cleanup
    project                     = var.project
    region                      = var.region
    log_view                    = one(google_logging_log_view.dagster[*].id)
    impersonate_service_account = length(var.dagster_impersonators) > 0 ? local.dagster_email : null
  }

  function_url = google_cloudfunctions2_function.this.service_config[0].uri # without a path: it is the audience as well
}

output "resource" {
  description = "The fields of the Dagster resource."
  value       = local.resource
}

output "snippet" {
  description = "The Dagster resource and an asset that calls the function, to paste."
  value = templatefile("${path.module}/snippet.tftpl", {
    asset  = replace(var.name, "-", "_")
    called = var.dagster_views_function ? "function=\"${var.name}\"" : "function_url=\"${local.function_url}\""
    fields = { for field, value in local.resource : field => value if value != null }
  })
}

output "function_url" {
  description = "The function's URL, for `run(function_url=...)`."
  value       = local.function_url
}

output "function_service_account" {
  description = "Email of the function's service account, to give it what its own work needs."
  value       = google_service_account.function.email
}

output "dagster_service_account" {
  description = "Email of Dagster's service account."
  value       = local.dagster_email
}
