"""Who a client says it is, read from its first request. All of it is the client's to choose, so all of it is bounded.

What is too long is dropped, not cut (a cut label could be one that a selector wants); but for the id, which is cut so
that the stream still has a name.
"""

from itertools import islice
from typing import Any

import msgspec

MAX_ID = 512
MAX_LABELS = 64
MAX_LOOKED_AT = 1024
"""Entries of the metadata that are looked at for labels."""
MAX_LABEL = 256
"""Characters of a key or a value."""


class Node(msgspec.Struct, frozen=True):
    """A client. `metadata` are the flat entries of its metadata, as text; `user_agent` is its program and version."""

    id: str = ""
    cluster: str = ""
    metadata: dict[str, str] = {}
    user_agent: str = ""


def read_node(message: Any) -> Node:
    """A Node of an `envoy.config.core.v3.Node`. Reads no more than what is kept."""
    return Node(
        clean(message.id, MAX_ID),
        clean(message.cluster, MAX_LABEL),
        _read_labels(message.metadata),
        clean(f"{message.user_agent_name} {_user_agent_version(message)}".strip(), MAX_LABEL),
    )


def clean(text: str, most: int) -> str:
    """Text of a client for logs and pages: what can't be printed is a space, and the rest is cut."""
    text = text[:most]
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _read_labels(metadata: Any) -> dict[str, str]:
    labels: dict[str, str] = {}
    for key, value in islice(metadata.fields.items(), MAX_LOOKED_AT):
        text = _as_text(value)
        if text is None or max(len(key), len(text)) > MAX_LABEL or not f"{key}{text}".isprintable():
            continue
        labels[key] = text
        if len(labels) == MAX_LABELS:
            break
    return labels


def _as_text(value: Any) -> str | None:
    match value.WhichOneof("kind"):
        case "string_value":
            return str(value.string_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "number_value":
            return f"{value.number_value:.15g}"
        case _:
            return None


def _user_agent_version(message: Any) -> str:
    if message.HasField("user_agent_build_version"):
        version = message.user_agent_build_version.version
        return f"{version.major_number}.{version.minor_number}.{version.patch}"
    return str(message.user_agent_version)
