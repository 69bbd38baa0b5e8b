locals {
  of_the_service = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"${local.service}\""

  # They leave out requests that reach no instance, so 429 is among the logs.
  # https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run
  metrics = {
    server_errors = {
      name      = "5xx"
      filter    = "metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\""
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      threshold = 0
    }
    near_timeout = {
      name      = "calls near the timeout"
      filter    = "metric.type = \"run.googleapis.com/request_latencies\""
      aligner   = "ALIGN_PERCENTILE_99"
      reducer   = "REDUCE_MAX"
      threshold = var.timeout * 900 # milliseconds: nine tenths
    }
  }

  logs = {
    too_many_requests = {
      name   = "429, all instances are busy" # or 500: https://cloud.google.com/run/docs/troubleshooting#abort-request
      filter = "(httpRequest.status = 429 OR textPayload:\"no available instance\")"
    }
    deaths = {
      name   = "an instance died"
      filter = "log_id(\"run.googleapis.com/varlog/system\") AND textPayload =~ \"Memory limit of .+ exceeded with .+ used|Container (?:terminated on signal|called exit)\""
    }
  }
}

resource "google_monitoring_alert_policy" "metrics" {
  for_each = var.shared.alerts == null ? {} : local.metrics

  project               = var.shared.project
  display_name          = "${var.name}: ${each.value.name}"
  combiner              = "OR"
  notification_channels = var.shared.alerts.notification_channels
  user_labels           = var.shared.labels

  conditions {
    display_name = each.value.name

    condition_threshold {
      filter          = "${local.of_the_service} AND ${each.value.filter}"
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "0s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }
}

resource "google_monitoring_alert_policy" "logs" {
  for_each = var.shared.alerts == null ? {} : local.logs

  project               = var.shared.project
  display_name          = "${var.name}: ${each.value.name}"
  combiner              = "OR"
  notification_channels = var.shared.alerts.notification_channels
  user_labels           = var.shared.labels

  conditions {
    display_name = each.value.name

    condition_matched_log {
      filter = "${local.of_the_service} AND ${each.value.filter}"
    }
  }

  alert_strategy {
    notification_rate_limit {
      period = "3600s" # the platform wants one for logs
    }
  }
}
