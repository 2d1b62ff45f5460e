"""The request target and the authority (RFC 9112 §3.2, RFC 3986 §5.2.4, §6.2.2.2).

What is matched is what is forwarded: letters, digits and `-._~` that came escaped are as if they had not, and dot
segments are resolved first, so that no upstream can see another path than the route table did. Other escapes stay,
`%2F` too. A fragment, a backslash (which some servers take for a slash) and an escaped NUL are refused.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from turnout.proxy.http.fields import MalformedError

MAX_LEARNED: Final = 1_024
MAX_LEARNED_BYTES: Final = 256

_AUTHORITY: Final = re.compile(
    rb"(\[[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?\Z"
)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(/[^?#]*)?(\?[^#]*)?\Z", re.IGNORECASE)
# Not after a stray %, which would become an escape with it.
_UNRESERVED: Final = re.compile(rb"(?<!%)(?<!%[0-9A-Fa-f])%(2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")


def split_target(target: bytes, method: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """Path (normalised), query (None if there is no `?`) and authority (None unless in absolute form)."""
    authority = None
    if not target.startswith(b"/"):
        if target == b"*" and method == b"OPTIONS":
            return b"*", None, None
        match = _ABSOLUTE.match(target)
        if match is None:
            raise MalformedError("the target is neither in origin-form nor in absolute-form")
        authority = match[1]
        target = (match[2] or b"/") + (match[3] or b"")
    if b"#" in target or b"\\" in target:
        raise MalformedError("a fragment or a backslash in the target")
    query = None
    if b"?" in target:
        target, _, query = target.partition(b"?")
    if b"/." in target or b"%" in target:
        target = normalize_path(target)
    return target, query, authority


def normalize_path(path: bytes) -> bytes:
    """Undo needless escapes, and resolve `.` and `..` segments, above the root too; a resolved last segment leaves a
    slash."""
    if b"%" in path:
        if b"%00" in path:
            raise MalformedError("an escaped NUL in the path")
        path = _UNRESERVED.sub(_unescape, path)
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode())


def parse_authority(authority: bytes) -> str:
    """The host of an authority, in lower case, without port. Raises MalformedError for an invalid or empty one."""
    match = _AUTHORITY.match(authority)
    if match is None:
        raise MalformedError("invalid Host")
    if match[1].startswith(b"["):
        check_ipv6(match[1][1:-1])
    return match[1].decode("ascii").lower().removesuffix(".")


def check_ipv6(address: bytes) -> None:
    try:
        IPv6Address(address.decode("ascii"))
    except AddressValueError as error:
        raise MalformedError("invalid Host") from error


class Targets:
    """Targets without a query that are in their normal form, each with itself: models have few. Bounded."""

    __slots__ = ("plain",)

    def __init__(self) -> None:
        self.plain: dict[bytes, bytes] = {}

    def learn(self, target: bytes, path: bytes, query: bytes | None) -> None:
        if len(target) > MAX_LEARNED_BYTES or len(self.plain) >= MAX_LEARNED:
            return
        if query is None and path == target != b"*":
            self.plain[target] = path


class Authorities:
    """Authorities seen, with their hosts: clients name few, so each is parsed once. Bounded."""

    __slots__ = ("hosts",)

    def __init__(self) -> None:
        self.hosts: dict[bytes, str] = {}

    def look_up(self, authority: bytes) -> str:
        host = self.hosts.get(authority)
        if host is None:
            host = parse_authority(authority)
            if len(authority) <= MAX_LEARNED_BYTES and len(self.hosts) < MAX_LEARNED:
                self.hosts[authority] = host
        return host
