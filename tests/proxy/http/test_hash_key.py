"""What of a request is hashed, and cookies that nobody should have to read."""

import pytest

from turnout.proxy.http.hash_key import MAX_COOKIES, compile_hash_key, hash_request
from turnout.proxy.http.hashing import hash_bytes
from turnout.proxy.http.head import RequestHead
from turnout.rules.resilience import HashKey

PEER = b"192.0.2.1"


def ask(key: HashKey, *fields: tuple[bytes, bytes], address: bytes = PEER) -> bytes | None:
    return compile_hash_key(key)(RequestHead(fields), address)


def test_a_header_is_taken_as_it_is_and_several_are_joined() -> None:
    key = HashKey("header", "x-user")
    assert ask(key, (b"X-User", b"Ann")) == b"Ann"
    assert ask(key, (b"x-user", b"a"), (b"other", b"b"), (b"X-USER", b"c")) == b"a,c"
    assert ask(key, (b"x-user", b"")) is None
    assert ask(key) is None


def test_the_address_is_the_clients() -> None:
    assert ask(HashKey("source_address")) == PEER
    assert ask(HashKey("source_address"), address=b"") is None


def test_the_model_is_what_the_proxy_has_found_it_to_be() -> None:
    assert ask(HashKey("model"), (b"x-gateway-model-name", b"llama")) == b"llama"
    assert ask(HashKey("model")) is None
    assert ask(HashKey("header", "x-gateway-model-name"), (b"x-gateway-model-name", b"llama")) == b"llama"


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ([b"sid=1"], b"1"),
        ([b"a=0; sid=1; b=2"], b"1"),
        ([b"a=0;sid=1;b=2"], b"1"),
        ([b"sid=1; sid=2"], b"1"),
        ([b"a=b", b"sid=3"], b"3"),
        ([b" \tsid = x y "], b"x y"),
        ([b'sid="q"'], b"q"),
        ([b'sid="'], b'"'),
        ([b"sid=a=b=c"], b"a=b=c"),
        ([b"sid=a,b"], b"a,b"),
        ([b"xsid=1; sidx=2; a=sid=3"], None),
        ([b"SID=1"], None),
        ([b"sid"], None),
        ([b"sid="], None),
        ([b'sid=""'], None),
        ([b";;;==;=sid;"], None),
        ([b""], None),
        ([], None),
    ],
)
def test_the_first_cookie_of_that_name_counts(cookies: list[bytes], value: bytes | None) -> None:
    assert ask(HashKey("cookie", "sid"), *((b"Cookie", text) for text in cookies)) == value


def test_cookies_beyond_the_bound_are_not_looked_at() -> None:
    many = b"a=0;" * (MAX_COOKIES - 1)
    assert ask(HashKey("cookie", "sid"), (b"cookie", many + b"sid=1")) == b"1"
    assert ask(HashKey("cookie", "sid"), (b"cookie", many + b"a=0;sid=1")) is None
    assert ask(HashKey("cookie", "sid"), (b"cookie", b";" * 60_000 + b"sid=1")) is None


def test_a_request_without_a_key_hashes_to_nothing() -> None:
    key = compile_hash_key(HashKey("header", "x-user"))
    assert hash_request(key, RequestHead([(b"x-user", b"Ann")]), PEER) == hash_bytes(b"Ann")
    assert hash_request(key, RequestHead(), PEER) == 0
