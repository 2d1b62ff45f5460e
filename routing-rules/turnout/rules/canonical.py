"""One encoding for equal Snapshots.

msgspec leaves a field out of the encoding if it holds the default *object*; an equal one of its own is written. So that
`interval: 10s` and no `interval` are one Snapshot with one version, values that equal a default become it. What is
shared stays shared: a route bound to several hosts is one object in all of them.
"""

from functools import cache
from typing import TypeVar, cast

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
Memo = dict[int, msgspec.Struct]


def make_canonical(part: T) -> T:
    """The same part, with the default objects wherever it has their values."""
    return cast(T, _make_struct(part, {}))


def _make_struct(part: msgspec.Struct, memo: Memo) -> msgspec.Struct:
    made = memo.get(id(part))
    if made is None:
        changes = {}
        for name, default in _defaults(type(part)):
            own = getattr(part, name)
            if own is default:
                continue
            value = _make(own, memo)
            if type(value) is type(default) and value == default:
                value = default
            if value is not own:
                changes[name] = value
        made = memo[id(part)] = msgspec.structs.replace(part, **changes) if changes else part
    return made


def _make(value: object, memo: Memo) -> object:
    if isinstance(value, msgspec.Struct):
        return _make_struct(value, memo)
    if isinstance(value, tuple):
        made = tuple([_make(item, memo) for item in value])
        return made if any(new is not old for new, old in zip(made, value, strict=True)) else value
    return value


@cache
def _defaults(kind: type[msgspec.Struct]) -> tuple[tuple[str, object], ...]:
    return tuple((field.name, field.default) for field in msgspec.structs.fields(kind))
