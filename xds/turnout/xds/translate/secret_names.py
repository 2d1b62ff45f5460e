"""What secrets are called over SDS: Envoy's are a certificate with its key or CAs, ours may be both under one name.

A certificate has our name, `default/web`; the CAs of that name are `default/web#ca`; and since Envoy takes one of those
at a place, the CAs of several names are one, `default/a+default/b#ca`. Names of others are taken as they are.
"""

from collections.abc import Iterable

_CA = "#ca"
_AND = "+"


def join_cas(names: Iterable[str]) -> str:
    """The one name of the CAs of these."""
    return _AND.join(names) + _CA


def split_cas(name: str) -> tuple[str, ...]:
    """The names of ours that CAs of this name belong to."""
    return tuple(name.removesuffix(_CA).split(_AND)) if name.endswith(_CA) else (name,)
