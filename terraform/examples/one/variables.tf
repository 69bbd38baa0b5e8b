variable "project" {
  description = "ID of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of the function and its buckets."
  type        = string
  default     = "europe-west1"
}

variable "name" {
  description = "Name of the function; one for each environment in a project."
  type        = string
  default     = "dagster-example"
}

variable "source_archive" {
  description = "Path of the zip that `just archive` builds."
  type        = string
  default     = "../../../build/function.zip"
}

variable "build_service_account" {
  description = "The service account that builds the function. Default: the project's default account."
  type        = object({ email = string })
  default     = null
}

variable "dagster_impersonators" {
  description = "Members that may act as Dagster's service account, such as { jo = \"user:jo@example.com\" }."
  type        = map(string)
  default     = {}
}
