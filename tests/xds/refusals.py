"""What a resource is refused for, and our own words in it."""

import json
from typing import Any

from turnout.xds.translate.from_envoy import check_resource


def refused(type_url: str, message: Any) -> dict[str, str]:
    """The faults of a message, by field."""
    name, faults = check_resource(type_url, message.SerializeToString())
    assert all((fault.type_url, fault.name) == (type_url, name) for fault in faults)
    return {fault.field: fault.message for fault in faults}


def own_words(key: str, told: object) -> dict[str, Any]:
    """Metadata with this, as JSON."""
    return {"metadata": {"filter_metadata": {"turnout.dev": {key: json.dumps(told)}}}}
