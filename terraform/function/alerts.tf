locals {
  of_the_service = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"${local.service}\""

  metrics = {
    too_many_requests = {
      name      = "429, all instances are busy"
      filter    = "metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code = \"429\""
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      threshold = 0
    }
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

resource "google_monitoring_alert_policy" "deaths" {
  count = var.shared.alerts == null ? 0 : 1

  project               = var.shared.project
  display_name          = "${var.name}: an instance died"
  combiner              = "OR"
  notification_channels = var.shared.alerts.notification_channels
  user_labels           = var.shared.labels

  conditions {
    display_name = "an instance died"

    condition_matched_log {
      filter = "${local.of_the_service} AND log_id(\"run.googleapis.com/varlog/system\") AND textPayload =~ \"Memory limit of .+ exceeded with .+ used|Container (?:terminated on signal|called exit)\""
    }
  }

  alert_strategy {
    notification_rate_limit {
      period = "3600s" # the platform wants one for logs
    }
  }
}
