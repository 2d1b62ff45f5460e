"""`Retry-After` (RFC 9110 §10.2.3): seconds, or one of the three forms of an HTTP date (§5.6.7)."""

import re
from datetime import UTC, datetime

MAX_BYTES = 40
"""The longest date has 33."""

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_CLOCK = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FORMS = tuple(
    re.compile(form).fullmatch
    for form in (
        rb"[A-Z][a-z]{2}, (?P<day>\d\d) (?P<month>[A-Z][a-z]{2}) (?P<year>\d{4}) %b GMT" % _CLOCK,
        rb"[A-Z][a-z]{5,8}, (?P<day>\d\d)-(?P<month>[A-Z][a-z]{2})-(?P<year>\d\d) %b GMT" % _CLOCK,
        rb"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) %b (?P<year>\d{4})" % _CLOCK,
    )
)


def parse_retry_after(value: bytes, wall: float) -> float | None:
    """Seconds from `wall` (Unix time) on, 0 for a date that is over; None for what is neither form."""
    if len(value) > MAX_BYTES:
        return None
    if value.isdigit():
        return float(value)
    date = _parse_date(value, wall)
    return None if date is None else max(0.0, date - wall)


def _parse_date(value: bytes, wall: float) -> float | None:
    for match in _FORMS:
        found = match(value)
        if found is not None:
            month = _MONTHS.get(found["month"])
            if month is None:
                return None
            clock = int(found["hour"]), int(found["minute"]), min(int(found["second"]), 59)  # 60 is a leap second
            try:
                return datetime(
                    _full_year(found["year"], wall), month, int(found["day"]), *clock, tzinfo=UTC
                ).timestamp()
            except ValueError:
                return None
    return None


def _full_year(year: bytes, wall: float) -> int:
    """Two digits mean the last year that ended so, if it would else be more than 50 years ahead (RFC 9110 §5.6.7)."""
    if len(year) == 4:
        return int(year)
    present = datetime.fromtimestamp(wall, UTC).year
    full = present - present % 100 + int(year)
    return full - 100 if full > present + 50 else full
