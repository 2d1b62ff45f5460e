"""Sizes as Kubernetes writes quantities (apimachinery `resource.Quantity`), as far as they are whole bytes."""

import re

_QUANTITY = re.compile(r"([0-9]{1,15})(Ki|Mi|Gi|k|M|G)?", re.ASCII)
_UNITS = {None: 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}


def parse_bytes(value: int | str) -> int:
    """The number of bytes of `1Mi`, `64Ki`, `500k`, or a plain number. Raises ValueError if it is none of these."""
    if isinstance(value, int):
        return value
    found = _QUANTITY.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is not a size like 64Ki, 1Mi or 65536")
    return int(found[1]) * _UNITS[found[2]]
