variable "project" {
  description = "ID of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of the functions and their buckets."
  type        = string
  default     = "europe-west1"
}

variable "archives" {
  description = "Folder with orders.zip and customers.zip."
  type        = string
  default     = "../../../build"
}

variable "build_service_account" {
  description = "The service account that builds the functions. Default: the project's default account."
  type        = object({ email = string })
  default     = null
}

variable "dagster_impersonators" {
  description = "Members that may act as Dagster's service account, such as { jo = \"user:jo@example.com\" }."
  type        = map(string)
  default     = {}
}
