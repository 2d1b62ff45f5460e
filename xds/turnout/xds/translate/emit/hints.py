"""A Snapshot's own words as JSON, the same text for equal structs.

msgspec leaves out a default only if it is the very object, so an equal one that somebody made would be another text,
and another version of the resource.
"""

import functools
from typing import Any

import msgspec


def write_hint(struct: msgspec.Struct) -> str:
    """What `read.hint` decodes: every field that is not as by default."""
    return msgspec.json.encode(_plain(struct)).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    tag, defaults = _describe(type(value))
    pairs = ((name, getattr(value, name)) for name in value.__struct_fields__)
    return {**tag, **{name: _plain(found) for name, found in pairs if found != defaults.get(name, msgspec.NODEFAULT)}}


@functools.cache
def _describe(struct: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tag that tells the type from others, if it has one, and the defaults of the fields."""
    config = struct.__struct_config__
    tag = {} if config.tag is None or config.tag_field is None else {config.tag_field: config.tag}
    return tag, {field.name: field.default for field in msgspec.structs.fields(struct)}
