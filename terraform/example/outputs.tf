output "resource" {
  description = "The fields of the Dagster resource."
  value       = module.function.resource
}

output "snippet" {
  description = "The Dagster resource and an asset that calls the function, to paste."
  value       = module.function.snippet
}

output "environment" {
  description = "The environment variables of examples/definitions.py."
  value = {
    PIPES_BUCKET       = module.function.resource.bucket
    FUNCTION           = "projects/${var.project}/locations/${var.region}/functions/${var.name}"
    LAKE_URI           = "gs://${google_storage_bucket.lake.name}"
    WEATHER_SOURCE_URI = "gs://${google_storage_bucket.lake.name}/${google_storage_bucket_object.weather.name}"
  }
}
