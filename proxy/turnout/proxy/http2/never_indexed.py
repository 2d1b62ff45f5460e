"""Fields that no HPACK table may learn (RFC 7541 §6.2.3, §7.1.3), tuples of a type of their own.

Not compiled, unlike its neighbours: mypyc makes plain tuples of those that it has taken apart, and the mark would be
lost without a word. So whatever looks at the type of a field, or makes a list of fields of another one, is here.
"""

from collections.abc import Collection
from operator import itemgetter

from turnout.proxy.http.head import NO_SECRETS, Fields
from turnout.proxy.http2.engine import NeverIndexedHeader

FieldTuple = tuple[tuple[bytes, bytes], ...]
"""One that came as never indexed is of another type than the rest, yet equal to one that did not."""

_PLAIN = frozenset({tuple})
_get_name = itemgetter(0)
_ALWAYS = frozenset({b"authorization"})
"""What libnghttp2 never indexes, whoever asks (`nghttp2_hd_deflater`, `deflate_nv`): it need not be marked by us."""

_AUTHORITY = frozenset({b":authority"})
"""What a request's `host` becomes."""


def has_secrets(fields: FieldTuple) -> bool:
    """Whether one of them came as never indexed."""
    return not _PLAIN.issuperset(map(type, fields))


def find_secrets(fields: FieldTuple) -> frozenset[bytes]:
    """The names of those that came as never indexed, and would not go out so by themselves."""
    if _PLAIN.issuperset(map(type, fields)):
        return NO_SECRETS
    names = frozenset([field[0] for field in fields if type(field) is not tuple]) - _ALWAYS
    return names | _AUTHORITY if b"host" in names else names


def conceal(fields: Fields, secrets: frozenset[bytes]) -> Fields:
    """The fields, with those of these names marked: one or two, so these are looked for."""
    names = list(map(_get_name, fields))
    for name in secrets:
        at = -1
        for _ in range(names.count(name)):
            at = names.index(name, at + 1)
            fields[at] = NeverIndexedHeader(*fields[at])
    return fields


def keep_allowed(fields: FieldTuple, forbidden: Collection[bytes], prefixes: tuple[bytes, ...]) -> Fields:
    """Those whose names are none of `forbidden` and begin with none of `prefixes`, each as it came."""
    return [field for field in fields if field[0] not in forbidden and not field[0].startswith(prefixes)]


def lower_names(fields: Fields) -> Fields:
    """The same with names in lower case, as HTTP/2 wants them; those that are marked came so, and stay as they are."""
    return [field if type(field) is not tuple else (field[0].lower(), field[1]) for field in fields]
