"""OutlierDetection messages, with Envoy's defaults: neither latency nor a least number of endpoints."""

from typing import Any, Final

from turnout.rules.resilience import OutlierDetection
from turnout.xds.translate.emit.outliers import DURATIONS, NUMBERS
from turnout.xds.translate.faults import Place
from turnout.xds.translate.read.numbers import check_numbers, read_seconds

_DEFAULTS: Final = {
    "max_ejection_percent": 10,
    "consecutive_5xx": 5,
    "enforcing_consecutive_5xx": 100,
    "consecutive_gateway_failure": 5,
    "enforcing_consecutive_gateway_failure": 0,
    "consecutive_local_origin_failure": 5,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 100,
    "success_rate_minimum_hosts": 5,
    "success_rate_request_volume": 100,
    "success_rate_stdev_factor": 1_900,
    "enforcing_success_rate": 100,
    "failure_percentage_threshold": 85,
    "failure_percentage_minimum_hosts": 5,
    "failure_percentage_request_volume": 50,
    "enforcing_failure_percentage": 0,
    "enforcing_failure_percentage_local_origin": 0,
    "uneject_on_health_check": True,
    "always_eject_one": False,
}
_MAX_EJECTION_S = 300.0


def read_outlier_detection(message: Any, place: Place) -> OutlierDetection:
    values: dict[str, Any] = {
        ours: getattr(message, envoys).value if message.HasField(envoys) else _DEFAULTS[ours]
        for ours, envoys in NUMBERS.items()
    }
    base = read_seconds(message, "base_ejection_time", 30.0, place)
    defaults = {"interval_s": 10.0, "base_ejection_s": base, "max_ejection_s": max(_MAX_EJECTION_S, base)}
    for ours, envoys in DURATIONS.items():
        values[ours] = read_seconds(message, envoys, defaults.get(ours, 0.0), place)
    if values["max_ejection_s"] < base:
        place.at("max_ejection_time").say("must not be below base_ejection_time")
    outliers = OutlierDetection(
        **values,
        split_local_origin=message.split_external_local_origin_errors,
        min_available_percent=None,
        latency=None,
    )
    check_numbers(outliers, place)
    return outliers
