output "snippet" {
  description = "The Dagster resource and an asset that calls the function, to paste."
  value       = module.shared.snippet
}

output "environment" {
  description = "The environment variables of examples/definitions.py."
  value = {
    PIPES_BUCKET       = module.shared.bucket
    FUNCTION           = module.function.function
    LAKE_URI           = "gs://${google_storage_bucket.lake.name}"
    WEATHER_SOURCE_URI = "gs://${google_storage_bucket.lake.name}/${google_storage_bucket_object.weather.name}"
  }
}
