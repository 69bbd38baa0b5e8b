variable "project" {
  description = "ID of the Google Cloud project."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "Expected project to be a project's ID, such as \"acme-data-prod\": 6 to 30 lower-case letters, digits and hyphens, not its name or number."
  }
}

variable "region" {
  description = "Region of the functions and their buckets."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "Expected region to be a region, such as \"europe-west1\", not a zone or a multi-region."
  }
}

variable "name" {
  description = "Name of what the functions share: the bucket PROJECT-NAME, the repository NAME, the account and the log view NAME-dagster. Two environments in one project need two names."
  type        = string
  default     = "pipes"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,20}[a-z0-9])?$", var.name))
    error_message = "Expected name to have 1 to 22 lower-case letters, digits and hyphens, with a letter first: the account's name, NAME-dagster, may have 30."
  }

  validation {
    condition     = !contains([for function in var.functions : "${function}-source"], var.name)
    error_message = "Expected name to differ from FUNCTION-source: the function's source bucket has that name."
  }
}

variable "functions" {
  description = "Names of the functions, for the snippet."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.functions : can(regex("^[a-z]([a-z0-9-]{0,19}[a-z0-9])?$", name))])
    error_message = "Expected each of functions to have 1 to 21 lower-case letters, digits and hyphens, with a letter first."
  }

  validation {
    condition = length(setintersection([for name in var.functions : replace(name, "-", "_")], [
      "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
      "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise",
      "return", "try", "while", "with", "yield",
    ])) == 0
    error_message = "Expected functions without Python's keywords: the snippet's assets have their names."
  }

  validation {
    condition     = length(setintersection([for name in var.functions : replace(name, "-", "_")], ["asset", "cloud_function", "context", "defs"])) == 0
    error_message = "Expected functions without asset, cloud-function, context and defs: the snippet uses these names itself."
  }
}

variable "key_prefix" {
  description = "Base prefix of the messages in the bucket, as the Dagster resource has it."
  type        = string
  default     = "dagster-pipes"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*$", var.key_prefix))
    error_message = "Expected key_prefix to be names of letters, digits, dots, hyphens, underscores and equals signs, with single slashes between them."
  }

  validation {
    condition     = length(setintersection(split("/", var.key_prefix), [".", ".."])) == 0
    error_message = "Expected key_prefix without the parts \".\" and \"..\": the function refuses them."
  }

  validation {
    condition     = length(var.key_prefix) <= 500
    error_message = "Expected key_prefix to have at most 500 characters, as the Dagster resource does."
  }
}

variable "message_age" {
  description = "After how many days messages that no cleanup has deleted are deleted."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.message_age >= 1 && floor(var.message_age) == var.message_age
    error_message = "Expected message_age to be whole days, 1 or more."
  }
}

variable "cleanup" {
  description = "When Dagster deletes a call's messages: \"always\", \"on_success\" or \"never\". Unless it is \"never\", its account may delete below the prefix."
  type        = string
  default     = "on_success"
  nullable    = false

  validation {
    condition     = contains(["always", "on_success", "never"], var.cleanup)
    error_message = "Expected cleanup to be \"always\", \"on_success\" or \"never\"."
  }
}

variable "dagster_service_account" {
  description = "The service account that Dagster has. Default: the module makes one."
  type        = object({ email = string })
  default     = null

  validation {
    condition     = var.dagster_service_account == null || can(regex("^[^@/:]+@[^@/]+\\.gserviceaccount\\.com$", var.dagster_service_account.email))
    error_message = "Expected dagster_service_account to have a service account's email: only those get ID tokens for a function."
  }
}

variable "dagster_impersonators" {
  description = "Members that may act as Dagster's service account, each with a key of your choice, such as { jo = \"user:jo@example.com\" }. With any, the Dagster resource impersonates the account."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in values(var.dagster_impersonators) : can(regex("^(user|group|serviceAccount|principal|principalSet):.+$", member))])
    error_message = "Expected each of dagster_impersonators to start with user:, group:, serviceAccount:, principal: or principalSet:."
  }

  validation {
    condition     = length(distinct(values(var.dagster_impersonators))) == length(var.dagster_impersonators)
    error_message = "Expected dagster_impersonators to name each member once."
  }
}

variable "log_view" {
  description = "The log bucket of which Dagster's account may read the logs of all Cloud Run services: a view's filter cannot tell one service from another. {} means _Default in global. Default: it reads no logs."
  type = object({
    location = optional(string, "global")
    bucket   = optional(string, "_Default")
  })
  default = null
}

variable "deployers" {
  description = "Members that deploy functions, each with a key of your choice: they may attach the functions' accounts and the builder's, and no other. Default: you grant that yourself."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in values(var.deployers) : can(regex("^(user|group|serviceAccount|principal|principalSet):.+$", member))])
    error_message = "Expected each of deployers to start with user:, group:, serviceAccount:, principal: or principalSet:."
  }

  validation {
    condition     = length(distinct(values(var.deployers))) == length(var.deployers)
    error_message = "Expected deployers to name each member once."
  }
}

variable "build_service_account" {
  description = "The service account that builds the functions. Default: the project's default account, which new organisations give no roles."
  type        = object({ email = string })
  default     = null

  validation {
    condition     = var.build_service_account == null || can(regex("^[^@/:]+@[^@/]+\\.gserviceaccount\\.com$", var.build_service_account.email))
    error_message = "Expected build_service_account to have a service account's email."
  }
}

variable "worker_pool" {
  description = "Private pool of Cloud Build that builds the functions, as projects/P/locations/L/workerPools/W. Default: Google's own machines."
  type        = string
  default     = null

  validation {
    condition     = var.worker_pool == null || can(regex("^projects/[^/]+/locations/[^/]+/workerPools/[^/]+$", var.worker_pool))
    error_message = "Expected worker_pool to be projects/P/locations/L/workerPools/W."
  }
}

variable "kept_images" {
  description = "How many images of each function the repository keeps. Older ones are deleted after a day."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.kept_images >= 1 && floor(var.kept_images) == var.kept_images
    error_message = "Expected kept_images to be a whole number, 1 or more."
  }
}

variable "kms_key" {
  description = "Cloud KMS key that encrypts messages, sources, images and functions, with the ID projects/P/locations/L/keyRings/R/cryptoKeys/K. The module lets Google's service agents use it, unless grant is false. Default: keys of Google's."
  type = object({
    id    = string
    grant = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key.id))
    error_message = "Expected kms_key.id to be projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }

  validation {
    condition     = var.kms_key == null || try(split("/", var.kms_key.id)[3] == var.region, true)
    error_message = "Expected kms_key to be in the region of the functions: the platform refuses the keys of other locations."
  }
}

variable "labels" {
  description = "Labels of everything that can have labels."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "Expected labels of lower-case letters, digits, hyphens and underscores: up to 63, and the key with a letter first."
  }
}

variable "alerts" {
  description = "Who is notified when a function gets 429 or 5xx, its instance dies, or calls come near the timeout; and, with max_objects, when the bucket holds more objects than that. Default: no alert policies."
  type = object({
    notification_channels = list(string)
    max_objects           = optional(number)
  })
  default = null

  validation {
    condition     = try(length(var.alerts.notification_channels) > 0, true)
    error_message = "Expected alerts to have at least one of notification_channels."
  }

  validation {
    condition     = alltrue([for channel in try(var.alerts.notification_channels, []) : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "Expected each of notification_channels to be projects/P/notificationChannels/C, not an address."
  }

  validation {
    condition     = try(var.alerts.max_objects >= 1 && floor(var.alerts.max_objects) == var.alerts.max_objects, true)
    error_message = "Expected max_objects of alerts to be a whole number, 1 or more."
  }
}

variable "enable_apis" {
  description = "Whether to enable the project's APIs that are needed."
  type        = bool
  default     = true
  nullable    = false
}
