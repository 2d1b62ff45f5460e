"""What of a request is hashed, so that equal requests go the same way (Envoy `RouteAction.HashPolicy`).

A request that lacks it, or has it empty, has no key, and goes at random: all of them in one place would be a hot spot.
"""

from collections.abc import Callable

from turnout.proxy.http.hashing import hash_bytes
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import MODEL_NAME
from turnout.rules.resilience import HashKey

HashOf = Callable[[RequestHead, bytes], bytes | None]
"""The key of a request, from its head and the client's address as text; None if it has none."""

MAX_COOKIES = 512
"""So many cookies of a request are looked at; browsers keep some 180 for a site."""


def compile_hash_key(key: HashKey) -> HashOf:
    """A function that reads `key` of a request."""
    name = key.name.encode()
    match key.kind:
        case "header":
            return lambda head, address: head.get(name) or None
        case "model":
            return lambda head, address: head.find(MODEL_NAME)  # which is there if a table's clusters ask for it
        case "cookie":
            return lambda head, address: find_cookie(head, name)
        case "source_address":
            return lambda head, address: address or None


def find_cookie(head: RequestHead, name: bytes) -> bytes | None:
    """The value of the first cookie of that name, without quotes (RFC 6265 §4.1.1, §5.2); None if it is not there or
    empty."""
    if head.get(b"cookie") is None:
        return None
    for field, value in head.fields:
        if field != b"cookie" or name not in value:
            continue
        # What is beyond the bound is one last piece, which is no cookie of anybody's.
        for pair in value.split(b";", MAX_COOKIES)[:MAX_COOKIES]:
            own, equals, text = pair.partition(b"=")
            if equals and own.strip(b" \t") == name:
                text = text.strip(b" \t")
                return (text[1:-1] if len(text) > 1 and text[:1] == text[-1:] == b'"' else text) or None
    return None


def hash_request(hash_of: HashOf, head: RequestHead, address: bytes) -> int:
    """The hash of a request for a balancing policy, 0 if it has no key."""
    key = hash_of(head, address)
    return 0 if key is None else hash_bytes(key)
