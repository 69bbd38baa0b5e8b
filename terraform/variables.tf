variable "project" {
  description = "ID of the Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "Expected project to be a project's ID, such as \"acme-data-prod\": 6 to 30 lower-case letters, digits and hyphens, not its name or number."
  }
}

variable "region" {
  description = "Region of the function and its buckets."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "Expected region to be a region, such as \"europe-west1\", not a zone or a multi-region."
  }
}

variable "name" {
  description = "Name of the function. The accounts and, with the project's ID before it, the buckets are named after it."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,19}[a-z0-9])?$", var.name))
    error_message = "Expected name to have 1 to 21 lower-case letters, digits and hyphens, with a letter first: the accounts' names, which start with it, may have 30."
  }
}

variable "source_archive" {
  description = "Path of the zip with the function's source; main.py and requirements.txt are at its root. Build it so that the same source gives the same bytes: its hash decides whether the function is deployed again."
  type        = string

  validation {
    condition     = fileexists(var.source_archive)
    error_message = "Expected source_archive to be a file. In a clone of dagster-gcf-pipes, `just archive` builds it."
  }
}

variable "entry_point" {
  description = "Name of the function in main.py."
  type        = string
  default     = "main"
}

variable "runtime" {
  description = "Runtime of the function."
  type        = string
  default     = "python313"

  validation {
    condition     = can(regex("^python3[1-9][0-9]$", var.runtime))
    error_message = "Expected runtime to be one of Python 3.10 or later, such as \"python313\"."
  }
}

variable "memory" {
  description = "Memory of an instance, shared by all its requests."
  type        = string
  default     = "512Mi"

  validation {
    condition     = can(regex("^[1-9][0-9]*(M|Mi|G|Gi)$", var.memory))
    error_message = "Expected memory to be a whole number with the unit M, Mi, G or Gi, such as \"512Mi\"."
  }
}

variable "cpu" {
  description = "CPUs of an instance: a part of one, or 1, 2, 4, 6 or 8."
  type        = number
  default     = 1

  validation {
    condition     = var.cpu >= 0.08 && (var.cpu <= 1 || contains([2, 4, 6, 8], var.cpu))
    error_message = "Expected cpu to be from 0.08 to 1, or 2, 4, 6 or 8."
  }
}

variable "concurrency" {
  description = "How many requests an instance serves at once. It is also the number of its threads."
  type        = number
  default     = 1

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000 && floor(var.concurrency) == var.concurrency
    error_message = "Expected concurrency to be a whole number from 1 to 1000."
  }

  validation {
    condition     = var.concurrency == 1 || var.cpu >= 1
    error_message = "Expected cpu to be at least 1, as concurrency is above 1: the platform refuses less."
  }
}

variable "timeout" {
  description = "How long a call may take, in seconds."
  type        = number
  default     = 540

  validation {
    condition     = var.timeout >= 1 && var.timeout <= 3600 && floor(var.timeout) == var.timeout
    error_message = "Expected timeout to be whole seconds from 1 to 3600, the longest that the platform allows."
  }
}

variable "min_instances" {
  description = "How many instances are kept while there are no calls. Each above 0 costs money around the clock."
  type        = number
  default     = 0

  validation {
    condition     = var.min_instances >= 0 && floor(var.min_instances) == var.min_instances
    error_message = "Expected min_instances to be a whole number, 0 or more."
  }
}

variable "max_instances" {
  description = "How many instances there may be: with the concurrency, how many calls run at once. Further calls get 429, and Dagster tries them again."
  type        = number
  default     = 10

  validation {
    condition     = var.max_instances >= 1 && floor(var.max_instances) == var.max_instances
    error_message = "Expected max_instances to be a whole number, 1 or more."
  }

  validation {
    condition     = var.max_instances >= var.min_instances
    error_message = "Expected max_instances to be at least min_instances."
  }
}

variable "ingress" {
  description = "From which networks the function can be reached. Whoever reaches it needs an ID token of an account that may invoke it."
  type        = string
  default     = "ALLOW_ALL"

  validation {
    condition     = contains(["ALLOW_ALL", "ALLOW_INTERNAL_ONLY", "ALLOW_INTERNAL_AND_GCLB"], var.ingress)
    error_message = "Expected ingress to be ALLOW_ALL, ALLOW_INTERNAL_ONLY or ALLOW_INTERNAL_AND_GCLB."
  }
}

variable "vpc" {
  description = "The VPC network through which the function's own connections go: a connector, or a network or subnetwork for direct egress. Default: none."
  type = object({
    connector   = optional(string)
    network     = optional(string)
    subnetwork  = optional(string)
    tags        = optional(list(string))
    all_traffic = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.vpc == null || try(var.vpc.connector != null, false) != try(var.vpc.network != null || var.vpc.subnetwork != null, false)
    error_message = "Expected vpc to have either a connector, or a network or subnetwork for direct egress."
  }
}

variable "environment" {
  description = "Environment variables of the function, beside those that the module sets."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.environment), ["GCF_PIPES_BUCKETS", "GCF_PIPES_KEY_PREFIX", "LOG_EXECUTION_ID", "THREADS"])) == 0
    error_message = "Expected environment without GCF_PIPES_BUCKETS, GCF_PIPES_KEY_PREFIX, LOG_EXECUTION_ID and THREADS: the module sets them."
  }
}

variable "secrets" {
  description = "Environment variables of the function whose values are secrets of the project: the name of the variable, and the secret's ID and version. The function's account may read these secrets."
  type = map(object({
    secret  = string
    version = optional(string, "latest")
  }))
  default = {}
}

variable "build_service_account" {
  description = "Email of the service account that builds the function. Default: the project's default account, which new organisations give no roles."
  type        = string
  default     = null

  validation {
    condition     = var.build_service_account == null || can(regex("^[^@/]+@[^@/]+$", var.build_service_account))
    error_message = "Expected build_service_account to be an account's email."
  }
}

variable "key_prefix" {
  description = "Base prefix of the messages in the bucket, as the Dagster resource has it."
  type        = string
  default     = "dagster-pipes"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", var.key_prefix))
    error_message = "Expected key_prefix to be names of letters, digits, dots, hyphens and underscores, with single slashes between them."
  }
}

variable "message_age" {
  description = "After how many days messages that no cleanup has deleted are deleted."
  type        = number
  default     = 7

  validation {
    condition     = var.message_age >= 1 && floor(var.message_age) == var.message_age
    error_message = "Expected message_age to be whole days, 1 or more."
  }
}

variable "cleanup" {
  description = "When Dagster deletes a call's messages: \"always\", \"on_success\" or \"never\". Unless it is \"never\", its account may delete below the prefix."
  type        = string
  default     = "on_success"

  validation {
    condition     = contains(["always", "on_success", "never"], var.cleanup)
    error_message = "Expected cleanup to be \"always\", \"on_success\" or \"never\"."
  }
}

variable "kms_key" {
  description = "Cloud KMS key that encrypts the bucket of the messages, as projects/P/locations/L/keyRings/R/cryptoKeys/K. Cloud Storage's service agent must be allowed to use it. Default: a key of Google's."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "Expected kms_key to be projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}

variable "dagster_service_account" {
  description = "Email of the service account that Dagster has. Default: the module makes one."
  type        = string
  default     = null

  validation {
    condition     = var.dagster_service_account == null || can(regex("^[^@/:]+@[^@/]+\\.gserviceaccount\\.com$", var.dagster_service_account))
    error_message = "Expected dagster_service_account to be a service account's email: only those get ID tokens for a function."
  }
}

variable "dagster_impersonators" {
  description = "Members that may act as Dagster's service account, such as \"user:jo@example.com\" or a principal of a workload identity pool. With any, the Dagster resource impersonates it."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.dagster_impersonators : can(regex("^(user|group|serviceAccount|principal|principalSet):.+$", member))])
    error_message = "Expected each of dagster_impersonators to start with user:, group:, serviceAccount:, principal: or principalSet:."
  }
}

variable "dagster_views_function" {
  description = "Whether Dagster's account may look the function up by its name: its URL, state and timeout."
  type        = bool
  default     = true
}

variable "dagster_views_logs" {
  description = "Whether Dagster's account may read logs. The view shows those of all Cloud Run services of the project: a view's filter cannot tell one service from another."
  type        = bool
  default     = false
}

variable "enable_apis" {
  description = "Whether to enable the project's APIs that are needed."
  type        = bool
  default     = true
}
