"""What outlier detection says: who is ejected, who is back, who would have been ejected, and by which numbers."""

from typing import Literal

import msgspec

Kind = Literal[
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "success_rate",
    "success_rate_local_origin",
    "failure_percentage",
    "failure_percentage_local_origin",
    "latency",
]
"""Envoy's `OutlierEjectionType` in lower case, and ours."""

Reason = Literal["", "max_ejection_percent", "min_available", "not_enforced", "time_is_over", "health_check_passed"]

Numbers = dict[str, float | int]


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event, for the log and the admin interface.

    * `eject`: no requests until `until` (seconds of the clock that the detector is given; looked at once an interval).
    * `uneject`: back, because of `reason`; `kind` is that of the ejection.
    * `kept`: it would have been ejected, but `reason` forbids it. Told once an interval for each kind and reason.

    `numbers` are what led to it: what was measured, and what it was held against.
    """

    action: Literal["eject", "uneject", "kept"]
    key: str
    kind: Kind
    until: float = 0.0
    reason: Reason = ""
    numbers: Numbers = {}
