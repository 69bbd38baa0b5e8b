locals {
  resource = {
    bucket                      = google_storage_bucket.messages.name
    key_prefix                  = var.key_prefix
    cleanup                     = var.cleanup
    project                     = var.project
    region                      = var.region
    log_view                    = one(google_logging_log_view.dagster[*].id)
    impersonate_service_account = length(var.dagster_impersonators) > 0 ? local.dagster_email : null
  }
}

output "resource" {
  description = "The fields of the Dagster resource."
  value       = local.resource
}

output "snippet" {
  description = "The Dagster resource and an asset for each of functions, to paste."
  value = templatefile("${path.module}/snippet.tftpl", {
    assets = { for name in var.functions : replace(name, "-", "_") => name }
    fields = { for field, value in local.resource : field => value if value != null }
  })
}

output "project" {
  description = "The project's ID."
  value       = var.project
}

output "region" {
  description = "The region."
  value       = var.region
}

output "bucket" {
  description = "Name of the bucket of the messages."
  value       = google_storage_bucket.messages.name
}

output "key_prefix" {
  description = "Base prefix of the messages."
  value       = var.key_prefix
}

output "dagster_service_account" {
  description = "Email of Dagster's service account."
  value       = local.dagster_email
}

output "deployers" {
  description = "Members that may attach the functions' accounts."
  value       = var.deployers
}

output "build_service_account" {
  description = "The account that builds the functions, or null. The deployers may attach it."
  value       = var.build_service_account
  depends_on  = [google_service_account_iam_member.deployers]
}

output "worker_pool" {
  description = "The pool that builds the functions, or null."
  value       = var.worker_pool
}

output "docker_repository" {
  description = "ID of the repository of the functions' images."
  value       = google_artifact_registry_repository.images.id
}

output "kms_key" {
  description = "The key that encrypts everything, or null. Its service agents may use it."
  value       = var.kms_key
  depends_on  = [google_kms_crypto_key_iam_member.agents]
}

output "labels" {
  description = "The labels."
  value       = var.labels
}

output "alerts" {
  description = "Who is notified, or null. The APIs are enabled."
  value       = var.alerts
  depends_on  = [google_project_service.this]
}
