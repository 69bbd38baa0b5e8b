"""Mistakes in the Terraform modules, as data. `just terraform-mutate` makes each, and shows which tests catch it."""
# ruff: noqa: E501

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A text of one file, and what to write in its place.

    Attributes:
        name: What goes wrong.
        file: The file, below `terraform/`.
        old: The text, which is there exactly once. An empty text is the end of the file.
        new: The text in its place.
        native: Whether only Terraform's own tests can catch it: CI cannot evaluate a validation or a template.
    """

    name: str
    file: str
    old: str
    new: str
    native: bool = False


def _binding(kind: str, role: str, member: str, rest: str) -> str:
    return f'\nresource "{kind}" "more" {{\n  role   = "{role}"\n  member = {member}\n  {rest}\n}}\n'


BUCKET = "google_storage_bucket_iam_member"
DAGSTER = "local.dagster_member"
FUNCTION = "google_service_account.function.member"
S, F, ONE, TWO = "shared", "function", "examples/one", "examples/two"

MUTATIONS = (
    # a second, wider binding beside the right one
    Mutation(
        "Dagster also views the project",
        f"{S}/iam.tf",
        "",
        _binding("google_project_iam_member", "roles/viewer", DAGSTER, "project = var.project"),
    ),
    Mutation(
        "everybody also reads the messages",
        f"{S}/iam.tf",
        "",
        _binding(BUCKET, "roles/storage.objectViewer", '"allUsers"', "bucket = google_storage_bucket.messages.name"),
    ),
    Mutation(
        "everybody also calls the function",
        f"{F}/iam.tf",
        "",
        _binding("google_cloud_run_v2_service_iam_member", "roles/run.invoker", '"allUsers"', "name = local.service"),
    ),
    Mutation(
        "the function also administers the bucket",
        f"{F}/iam.tf",
        "",
        _binding(BUCKET, "roles/storage.admin", FUNCTION, "bucket = var.shared.bucket"),
    ),
    Mutation(
        "a binding at two addresses",
        f"{F}/iam.tf",
        "",
        _binding(BUCKET, "roles/storage.objectViewer", "local.dagster_member", "bucket = var.shared.bucket"),
    ),
    Mutation(
        "Dagster also reads the source",
        f"{F}/iam.tf",
        "",
        _binding(
            BUCKET,
            "roles/storage.objectViewer",
            '"serviceAccount:${var.shared.dagster_service_account}"',
            "bucket = google_storage_bucket.source.name",
        ),
    ),
    # another role, member or condition
    Mutation(
        "Dagster administers the objects", f"{S}/iam.tf", '"roles/storage.objectUser"', '"roles/storage.objectAdmin"'
    ),
    Mutation(
        "Dagster deletes although it never cleans up",
        f"{S}/iam.tf",
        'var.cleanup == "never" ? "roles/storage.objectCreator" : "roles/storage.objectUser"',
        '"roles/storage.objectUser"',
    ),
    Mutation(
        "Dagster reads without a condition",
        f"{S}/iam.tf",
        '  condition {\n    title      = "below_key_prefix_or_list"\n    expression = local.below_prefix_or_list\n  }\n',
        "",
    ),
    Mutation("the prefix of Dagster's roles has no end", f"{S}/main.tf", '"${var.key_prefix}/"', "var.key_prefix"),
    Mutation(
        "the function creates anywhere", f"{F}/iam.tf", "expression = local.below_prefix\n", 'expression = "true"\n'
    ),
    Mutation("the function overwrites", f"{F}/iam.tf", '"roles/storage.objectCreator"', '"roles/storage.objectUser"'),
    Mutation(
        "the prefix of the function's roles has no end",
        f"{F}/iam.tf",
        '${var.shared.key_prefix}/\\")"',
        '${var.shared.key_prefix}\\")"',
    ),
    Mutation("both conditions at once", f"{F}/iam.tf", "} || resource.name", "} && resource.name"),
    Mutation(
        "swapped accounts: the function's runs as Dagster's",
        f"{F}/main.tf",
        "service_account_email            = google_service_account.function.email",
        "service_account_email            = var.shared.dagster_service_account",
    ),
    Mutation(
        "swapped accounts: the function calls itself",
        f"{F}/iam.tf",
        'name     = local.service\n  role     = "roles/run.invoker"\n  member   = "serviceAccount:${var.shared.dagster_service_account}"',
        'name     = local.service\n  role     = "roles/run.invoker"\n  member   = google_service_account.function.member',
    ),
    Mutation(
        "a dropped account: the function runs as the project's default",
        f"{F}/main.tf",
        "    service_account_email            = google_service_account.function.email\n",
        "",
    ),
    Mutation(
        "the invoker role is on the function",
        f"{F}/iam.tf",
        "basename(google_cloudfunctions2_function.this.service_config[0].service)",
        "var.name",
    ),
    Mutation(
        "Dagster changes the function",
        f"{F}/iam.tf",
        '"roles/cloudfunctions.viewer"',
        '"roles/cloudfunctions.developer"',
    ),
    Mutation(
        "the function administers its secrets",
        f"{F}/iam.tf",
        '"roles/secretmanager.secretAccessor"',
        '"roles/secretmanager.admin"',
    ),
    Mutation(
        "a pool signs with Dagster's account",
        f"{S}/iam.tf",
        '"roles/iam.workloadIdentityUser"',
        '"roles/iam.serviceAccountTokenCreator"',
    ),
    Mutation(
        "a deployer gets tokens of the builder",
        f"{S}/iam.tf",
        '"roles/iam.serviceAccountUser"',
        '"roles/iam.serviceAccountTokenCreator"',
    ),
    Mutation(
        "a deployer gets tokens of the function",
        f"{F}/iam.tf",
        '"roles/iam.serviceAccountUser"',
        '"roles/iam.serviceAccountTokenCreator"',
    ),
    Mutation("an agent may not use the key", f"{S}/iam.tf", '    run               = "serverless-robot-prod"\n', ""),
    Mutation(
        "the agents administer the key",
        f"{S}/iam.tf",
        '"roles/cloudkms.cryptoKeyEncrypterDecrypter"',
        '"roles/cloudkms.admin"',
    ),
    Mutation(
        "Dagster reads all logs", f"{S}/iam.tf", '"roles/logging.viewAccessor"', '"roles/logging.privateLogViewer"'
    ),
    # keys that are not known when Terraform plans
    Mutation(
        "members as keys",
        f"{S}/iam.tf",
        "for_each = var.dagster_impersonators",
        "for_each = toset(values(var.dagster_impersonators))",
    ),
    Mutation(
        "secrets as keys",
        f"{F}/iam.tf",
        "for_each = local.secrets",
        "for_each = { for secret in local.secrets : secret.id => secret }",
    ),
    Mutation(
        "a null test of an email",
        f"{S}/iam.tf",
        "count = var.dagster_service_account == null ? 1 : 0",
        "count = try(var.dagster_service_account.email, null) == null ? 1 : 0",
    ),
    # buckets, images and logs
    Mutation("the bucket of the messages may be public", f"{S}/main.tf", '"enforced"', '"inherited"'),
    Mutation("the bucket of the source may be public", f"{F}/main.tf", '"enforced"', '"inherited"'),
    Mutation(
        "object ACLs", f"{F}/main.tf", "uniform_bucket_level_access = true", "uniform_bucket_level_access = false"
    ),
    Mutation(
        "deleted messages are kept a week",
        f"{S}/main.tf",
        "retention_duration_seconds = 0",
        "retention_duration_seconds = 604800",
    ),
    Mutation("the rule deletes everything", f"{S}/main.tf", "      matches_prefix = [local.message_prefix]\n", ""),
    Mutation("the rule deletes after a day", f"{S}/main.tf", "age            = var.message_age", "age            = 1"),
    Mutation(
        "a rule deletes the source",
        f"{F}/main.tf",
        "  force_destroy               = true # the archive can be built again\n",
        '  force_destroy = true\n\n  lifecycle_rule {\n    action {\n      type = "Delete"\n    }\n    condition {\n      age = 7\n    }\n  }\n',
    ),
    Mutation("no image is kept", f"{S}/main.tf", 'action = "KEEP"', 'action = "DELETE"'),
    Mutation(
        "the log view shows all logs",
        f"{S}/main.tf",
        '  filter      = "resource.type = \\"cloud_run_revision\\""\n',
        "",
    ),
    Mutation("the log view is global", f"{S}/main.tf", "location    = var.log_view.location", 'location    = "global"'),
    Mutation("the source has another key", f"{F}/main.tf", "for_each = var.shared.kms_key[*]", "for_each = []"),
    Mutation("the images have another key", f"{S}/main.tf", "  kms_key_name  = one(var.kms_key[*].id)\n", ""),
    Mutation("a destroy disables the APIs", f"{S}/main.tf", "disable_on_destroy = false", "disable_on_destroy = true"),
    Mutation("an API is not enabled", f"{S}/main.tf", '    "iamcredentials.googleapis.com",\n', ""),
    # order
    Mutation(
        "the bucket does not wait for the APIs",
        f"{S}/main.tf",
        "\n  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.agents]\n}\n\n# The",
        "}\n\n# The",
    ),
    Mutation(
        "the function does not wait for its secrets",
        f"{F}/main.tf",
        "    google_secret_manager_secret_iam_member.function,\n",
        "",
    ),
    Mutation(
        "the old source goes first", f"{F}/main.tf", "create_before_destroy = true", "create_before_destroy = false"
    ),
    Mutation(
        "the function does not wait for the APIs",
        f"{S}/outputs.tf",
        "  depends_on  = [google_project_service.this]\n",
        "",
    ),
    # variables that do not reach their arguments
    Mutation("the same name for each source", f"{F}/main.tf", "-${filesha256(var.source_archive)}.zip", ".zip"),
    Mutation("as many threads as by default", f"{F}/main.tf", "tostring(var.concurrency)", '"1"'),
    Mutation("any bucket may be named", f"{F}/main.tf", "      GCF_PIPES_BUCKETS    = var.shared.bucket\n", ""),
    Mutation("environment replaces the module's variables", f"{F}/main.tf", "merge(var.environment, {", "merge({"),
    Mutation("timeout is lost", f"{F}/main.tf", "    timeout_seconds                  = var.timeout\n", ""),
    Mutation("an idle function costs money", f"{F}/variables.tf", "default     = 0\n", "default     = 1\n"),
    Mutation(
        "minimum and maximum are swapped",
        f"{F}/main.tf",
        "max_instance_count               = var.max_instances",
        "max_instance_count               = var.min_instances",
    ),
    Mutation("ingress is lost", f"{F}/main.tf", "= var.ingress", '= "ALLOW_ALL"'),
    Mutation("a rollback does not hold", f"{F}/main.tf", "= var.serve_latest_revision", "= true"),
    Mutation(
        "a secret has its newest version",
        f"{F}/main.tf",
        "version    = secret_environment_variables.value.version",
        'version    = "latest"',
    ),
    Mutation(
        "a secret's project is lost",
        f"{F}/main.tf",
        'try(regex("^projects/([^/]+)/", secret.secret)[0], var.shared.project)',
        "var.shared.project",
    ),
    Mutation(
        "all traffic leaves directly",
        f"{F}/main.tf",
        '? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"',
        '? "PRIVATE_RANGES_ONLY" : "ALL_TRAFFIC"',
    ),
    Mutation(
        "the builder is the project's default",
        f"{F}/main.tf",
        "var.shared.build_service_account == null ? null : ",
        "true ? null : ",
    ),
    Mutation(
        "the alerts are on",
        f"{F}/alerts.tf",
        "for_each = var.shared.alerts == null ? {} : local.metrics",
        "for_each = local.metrics",
    ),
    Mutation("the alert is for another service", f"{F}/alerts.tf", '\\"${local.service}\\""', '\\"${var.name}\\""'),
    Mutation(
        "nobody is notified of a death",
        f"{F}/alerts.tf",
        'local.logs\n\n  project               = var.shared.project\n  display_name          = "${var.name}: ${each.value.name}"\n'
        '  combiner              = "OR"\n  notification_channels = var.shared.alerts.notification_channels',
        'local.logs\n\n  project               = var.shared.project\n  display_name          = "${var.name}: ${each.value.name}"\n'
        '  combiner              = "OR"\n  notification_channels = []',
    ),
    Mutation("the resource has no prefix", f"{S}/outputs.tf", "    key_prefix                  = var.key_prefix\n", ""),
    Mutation(
        "a text in place of a variable",
        f"{S}/iam.tf",
        '"roles/storage.objectViewer"\n  member = local.dagster_member',
        '"roles/storage.objectViewer"\n  member = "local.dagster_member"',
    ),
    Mutation(
        "later archives are ignored",
        f"{F}/main.tf",
        "    create_before_destroy = true\n",
        "    create_before_destroy = true\n    ignore_changes        = [source]\n",
    ),
    # what is not a resource
    Mutation(
        "another module makes more",
        f"{F}/main.tf",
        "",
        '\nmodule "more" {\n  source  = "../shared"\n  project = var.shared.project\n  region  = var.shared.region\n}\n',
    ),
    Mutation(
        "an address moves",
        f"{F}/main.tf",
        "",
        "\nmoved {\n  from = google_storage_bucket.archive\n  to   = google_storage_bucket.source\n}\n",
    ),
    Mutation("an older provider may be taken", f"{F}/versions.tf", ">= 7.21, < 9.0", ">= 7.0, < 9.0"),
    Mutation("all traffic leaves by default", f"{F}/variables.tf", "optional(bool, false)", "optional(bool, true)"),
    Mutation("a secret is never renewed", f"{F}/variables.tf", 'optional(string, "latest")', 'optional(string, "1")'),
    Mutation("the key's owner must grant it", f"{S}/variables.tf", "optional(bool, true)", "optional(bool, false)"),
    Mutation(
        "null is an error",
        f"{F}/variables.tf",
        "  default     = 540\n  nullable    = false\n",
        "  default     = 540\n",
    ),
    Mutation(
        "the resource is hidden",
        f"{S}/outputs.tf",
        "  value       = local.resource\n",
        "  value       = local.resource\n  sensitive   = true\n",
    ),
    # the examples
    Mutation("the tables may be public", f"{ONE}/main.tf", '"enforced"', '"inherited"'),
    Mutation(
        "the function administers the tables", f"{ONE}/main.tf", '"roles/storage.objectUser"', '"roles/storage.admin"'
    ),
    Mutation(
        "nobody may act as Dagster", f"{ONE}/main.tf", "  dagster_impersonators = var.dagster_impersonators\n", ""
    ),
    Mutation("both functions have one source", f"{TWO}/main.tf", "/${each.key}.zip", "/orders.zip"),
    Mutation("the example's timeouts are lost", f"{TWO}/main.tf", "  timeout        = each.value.timeout\n", ""),
    # validations
    Mutation(
        "everybody may be an invoker",
        f"{F}/variables.tf",
        "for member in values(var.invokers) : can(regex",
        "for member in values(var.invokers) : true || can(regex",
        native=True,
    ),
    Mutation(
        "everybody may impersonate",
        f"{S}/variables.tf",
        "for member in values(var.dagster_impersonators) : can(regex",
        "for member in values(var.dagster_impersonators) : true || can(regex",
        native=True,
    ),
    Mutation(
        "a secret may be granted at two addresses",
        f"{F}/variables.tf",
        '/${basename(secret.secret)}"])) == length(var.secrets)',
        '/${basename(secret.secret)}"])) <= length(var.secrets)',
        native=True,
    ),
    Mutation(
        "a keyword may be an asset",
        f"{S}/variables.tf",
        '"finally", "for", "from", "global", "if", "import",',
        '"finally", "for", "from", "global", "if",',
        native=True,
    ),
    Mutation(
        "cpu need not go with memory",
        f"{F}/variables.tf",
        "condition     = local.gibibytes <=",
        "condition     = var.cpu > 0 || local.gibibytes <=",
        native=True,
    ),
    Mutation("a prefix may leave itself", f"{S}/variables.tf", '[".", ".."]', '["."]', native=True),
    Mutation(
        "a secret may replace the module's variable",
        f"{F}/variables.tf",
        "concat(local.own_variables, keys(var.environment))",
        "keys(var.environment)",
        native=True,
    ),
    Mutation(
        "the key may be anywhere",
        f"{S}/variables.tf",
        "try(split(",
        "true || try(split(",
        native=True,
    ),
    Mutation(
        "an address may be a channel",
        f"{S}/variables.tf",
        "for channel in try(var.alerts.notification_channels, []) : can(regex",
        "for channel in try(var.alerts.notification_channels, []) : true || can(regex",
        native=True,
    ),
    Mutation(
        "a secret's file may leave its folder",
        f"{F}/variables.tf",
        'length(setintersection(split("/", file), [".", ".."])) == 0',
        "true",
        native=True,
    ),
    # the template
    Mutation("the snippet defines nothing", f"{S}/snippet.tftpl", "defs = Def", "definitions = Def", native=True),
)
