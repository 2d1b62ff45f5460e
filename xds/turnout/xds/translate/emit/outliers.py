"""Outlier detection: Envoy's message has our fields, most of them by the same name."""

from typing import Any, Final

from envoy.config.cluster.v3 import outlier_detection_pb2

from turnout.rules.resilience import OutlierDetection
from turnout.xds.translate.emit.values import make_duration

NUMBERS: Final = {
    "max_ejection_percent": "max_ejection_percent",
    "consecutive_5xx": "consecutive_5xx",
    "enforcing_consecutive_5xx": "enforcing_consecutive_5xx",
    "consecutive_gateway_failure": "consecutive_gateway_failure",
    "enforcing_consecutive_gateway_failure": "enforcing_consecutive_gateway_failure",
    "consecutive_local_origin_failure": "consecutive_local_origin_failure",
    "enforcing_consecutive_local_origin_failure": "enforcing_consecutive_local_origin_failure",
    "enforcing_local_origin_success_rate": "enforcing_local_origin_success_rate",
    "success_rate_minimum_hosts": "success_rate_minimum_hosts",
    "success_rate_request_volume": "success_rate_request_volume",
    "success_rate_stdev_factor": "success_rate_stdev_factor",
    "enforcing_success_rate": "enforcing_success_rate",
    "failure_percentage_threshold": "failure_percentage_threshold",
    "failure_percentage_minimum_hosts": "failure_percentage_minimum_hosts",
    "failure_percentage_request_volume": "failure_percentage_request_volume",
    "enforcing_failure_percentage": "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin": "enforcing_failure_percentage_local_origin",
    "uneject_on_health_check": "successful_active_health_check_uneject_host",
    "always_eject_one": "always_eject_one_host",
}
"""Our name, Envoy's name: a wrapped number or truth."""
DURATIONS: Final = {
    "interval_s": "interval",
    "base_ejection_s": "base_ejection_time",
    "max_ejection_s": "max_ejection_time",
    "ejection_jitter_s": "max_ejection_time_jitter",
}


def make_outlier_detection(outliers: OutlierDetection) -> Any:
    """Every field is written out, since Envoy's defaults are others than ours."""
    message = outlier_detection_pb2.OutlierDetection(split_external_local_origin_errors=outliers.split_local_origin)
    for ours, envoys in NUMBERS.items():
        getattr(message, envoys).value = getattr(outliers, ours)
    for ours, envoys in DURATIONS.items():
        getattr(message, envoys).CopyFrom(make_duration(getattr(outliers, ours)))
    return message
