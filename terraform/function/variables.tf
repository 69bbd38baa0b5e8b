variable "shared" {
  description = "The shared module, as in `shared = module.shared`."
  type = object({
    project                 = string
    region                  = string
    bucket                  = string
    key_prefix              = string
    dagster_service_account = string
    deployers               = map(string)
    build_service_account   = object({ email = string })
    worker_pool             = string
    docker_repository       = string
    kms_key                 = object({ id = string })
    labels                  = map(string)
    alerts                  = object({ notification_channels = list(string) })
  })
  nullable = false
}

variable "name" {
  description = "Name of the function. Its account, NAME-function, and its source bucket, PROJECT-NAME-source, are named after it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,19}[a-z0-9])?$", var.name))
    error_message = "Expected name to have 1 to 21 lower-case letters, digits and hyphens, with a letter first: the account's name, NAME-function, may have 30."
  }

  validation {
    condition     = "${var.shared.project}-${var.name}-source" != var.shared.bucket
    error_message = "Expected name to differ: the source bucket, PROJECT-NAME-source, is the bucket of the messages."
  }
}

variable "source_archive" {
  description = "Path of the zip with the function's source; main.py and requirements.txt are at its root. Build it so that the same source gives the same bytes: its hash decides whether the function is deployed again."
  type        = string
  nullable    = false

  validation {
    condition     = fileexists(var.source_archive)
    error_message = "Expected source_archive to be a file. In a clone of dagster-gcf-pipes, `just archive` builds it."
  }
}

variable "entry_point" {
  description = "Name of the function in main.py."
  type        = string
  default     = "main"
  nullable    = false
}

variable "runtime" {
  description = "Runtime of the function."
  type        = string
  default     = "python313"
  nullable    = false

  validation {
    condition     = can(regex("^python3[1-9][0-9]$", var.runtime))
    error_message = "Expected runtime to be one of Python 3.10 or later, such as \"python313\"."
  }
}

variable "memory" {
  description = "Memory of an instance, shared by all its requests."
  type        = string
  default     = "512Mi"
  nullable    = false

  validation {
    condition     = can(regex("^[1-9][0-9]*(M|Mi|G|Gi)$", var.memory))
    error_message = "Expected memory to be a whole number with the unit M, Mi, G or Gi, such as \"512Mi\"."
  }

  validation {
    condition     = !can(regex("^([0-9]{1,2}|1[01][0-9]|12[0-7])Mi?$", var.memory))
    error_message = "Expected memory to be at least 128Mi."
  }
}

variable "cpu" {
  description = "CPUs of an instance: a part of one, or 1, 2, 4, 6 or 8."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.cpu >= 0.08 && (var.cpu <= 1 || contains([2, 4, 6, 8], var.cpu))
    error_message = "Expected cpu to be from 0.08 to 1, or 2, 4, 6 or 8."
  }

  validation {
    condition     = local.gibibytes <= try([for limit in local.memory_limits : limit.most if var.cpu < limit.below][0], 32)
    error_message = "Expected more cpu for this memory: 0.5 above 512Mi, 1 above 1Gi, 2 above 4Gi, 4 above 8Gi, 6 above 16Gi, 8 above 24Gi."
  }

  validation {
    condition     = local.gibibytes >= (var.cpu >= 6 ? 4 : var.cpu >= 4 ? 2 : 0)
    error_message = "Expected more memory for this cpu: 2Gi with 4, 4Gi with 6 or 8."
  }
}

variable "concurrency" {
  description = "How many requests an instance serves at once. It is also the number of its threads."
  type        = number
  default     = 1
  nullable    = false

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
  nullable    = false

  validation {
    condition     = var.timeout >= 1 && var.timeout <= 3600 && floor(var.timeout) == var.timeout
    error_message = "Expected timeout to be whole seconds from 1 to 3600, the longest that the platform allows."
  }
}

variable "min_instances" {
  description = "How many instances are kept while there are no calls. Each above 0 costs money around the clock."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.min_instances >= 0 && floor(var.min_instances) == var.min_instances
    error_message = "Expected min_instances to be a whole number, 0 or more."
  }
}

variable "max_instances" {
  description = "How many instances there may be: with the concurrency, how many calls run at once. Further calls get 429, and Dagster tries them again."
  type        = number
  default     = 10
  nullable    = false

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
  nullable    = false

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
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.environment), local.own_variables)) == 0
    error_message = "Expected environment without GCF_PIPES_BUCKETS, GCF_PIPES_KEY_PREFIX, LOG_EXECUTION_ID and THREADS: the module sets them."
  }

  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name)) && !startswith(name, "X_GOOGLE_") && !contains(local.platform_variables, name)])
    error_message = "Expected environment to have names of letters, digits and underscores, without X_GOOGLE_ at the start and without ${join(", ", local.platform_variables)}: the platform sets them."
  }
}

variable "build_environment" {
  description = "Environment variables of the build, such as { GOOGLE_PYTHON_PACKAGE_MANAGER = \"uv\" }."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "secrets" {
  description = "Secrets that the function's account may read, each with a key of your choice: the secret's ID, or its full name in another project; and the environment variable or the file, such as /secrets/tls/key.pem, that has its value."
  type = map(object({
    secret   = string
    version  = optional(string, "latest")
    variable = optional(string)
    file     = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for secret in values(var.secrets) : can(regex("^(projects/[^/]+/secrets/)?[A-Za-z0-9_-]+$", secret.secret))])
    error_message = "Expected each secret of secrets to be an ID, or projects/P/secrets/S without a version."
  }

  validation {
    condition     = alltrue([for secret in values(var.secrets) : can(regex("^(latest|[1-9][0-9]*)$", secret.version))])
    error_message = "Expected each version of secrets to be a number, or \"latest\"."
  }

  validation {
    condition     = length(distinct([for secret in values(var.secrets) : "${try(regex("^projects/([^/]+)/", secret.secret)[0], var.shared.project)}/${basename(secret.secret)}"])) == length(var.secrets)
    error_message = "Expected secrets to name each secret once: its role would be granted at two addresses."
  }

  validation {
    condition     = alltrue([for secret in values(var.secrets) : (secret.variable != null || secret.file != null) && secret.variable != "" && secret.file != ""])
    error_message = "Expected each of secrets to have a variable or a file."
  }

  validation {
    condition     = alltrue([for name in compact(values(var.secrets)[*].variable) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name)) && !startswith(name, "X_GOOGLE_") && !contains(local.platform_variables, name)])
    error_message = "Expected each variable of secrets to have letters, digits and underscores, without X_GOOGLE_ at the start and without ${join(", ", local.platform_variables)}: the platform sets them."
  }

  validation {
    condition     = length(setintersection(compact(values(var.secrets)[*].variable), concat(local.own_variables, keys(var.environment)))) == 0
    error_message = "Expected each variable of secrets to be set by nothing else: neither by environment, nor by the module."
  }

  validation {
    condition     = length(distinct(compact(values(var.secrets)[*].variable))) == length(compact(values(var.secrets)[*].variable))
    error_message = "Expected secrets to name each variable once."
  }

  validation {
    condition     = alltrue([for file in compact(values(var.secrets)[*].file) : can(regex("^(/[A-Za-z0-9._-]+){2,}$", file)) && length(setintersection(split("/", file), [".", ".."])) == 0])
    error_message = "Expected each file of secrets to be a path with a folder, such as /secrets/tls/key.pem, without the parts \".\" and \"..\"."
  }

  validation {
    condition     = length(distinct([for file in compact(values(var.secrets)[*].file) : dirname(file)])) == length(compact(values(var.secrets)[*].file))
    error_message = "Expected each file of secrets to have a folder of its own: the platform mounts one secret in one folder."
  }
}

variable "invokers" {
  description = "Members that may call the function besides Dagster, each with a key of your choice, such as { monitor = \"serviceAccount:monitor@acme-data.iam.gserviceaccount.com\" }."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in values(var.invokers) : can(regex("^(user|group|serviceAccount|principal|principalSet):.+$", member))])
    error_message = "Expected each of invokers to start with user:, group:, serviceAccount:, principal: or principalSet:."
  }

  validation {
    condition     = length(distinct(concat(values(var.invokers), ["serviceAccount:${var.shared.dagster_service_account}"]))) == length(var.invokers) + 1
    error_message = "Expected invokers to name each member once, and not Dagster's account."
  }
}

variable "serve_latest_revision" {
  description = "Whether a deployment moves all calls to its own revision. With false they stay at the revision that `gcloud run services update-traffic` named, for a rollback without a build."
  type        = bool
  default     = true
  nullable    = false
}
