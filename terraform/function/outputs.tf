output "function" {
  description = "Full name of the function, for `run(function=...)`."
  value       = google_cloudfunctions2_function.this.id
}

output "url" {
  description = "The function's URL, for `run(function_url=...)`. It is the audience of ID tokens as well."
  value       = google_cloudfunctions2_function.this.service_config[0].uri
}

output "service" {
  description = "Name of the Cloud Run service beneath the function, for its traffic and its logs."
  value       = local.service
}

output "service_account" {
  description = "Email of the function's service account, to give it what its own work needs."
  value       = google_service_account.function.email
}

output "source_bucket" {
  description = "Name of the bucket of the source."
  value       = google_storage_bucket.source.name
}
