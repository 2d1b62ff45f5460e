"""Heads of requests that come again: what is known of them, and what is each request's own."""

from typing import Any

import ngh2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import CHUNKED
from turnout.proxy.http2.encode import request_fields
from turnout.proxy.http2.request_head import LastHead, RequestHeads
from turnout.proxy.http2.response_head import LastAnswer, ResponseHeads

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALL = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"models.example"),
    (b":path", b"/inference.GRPCInferenceService/ModelInfer"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"x-tenant", b"team-a"),
)


def call(*more: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return (*CALL, *more)


def trace(at: int) -> tuple[bytes, bytes]:
    return b"traceparent", f"00-{TRACE}-{at:016x}-01".encode()


def describe(head: Any) -> tuple[Any, ...]:
    """All that a head says; fields that are a request's own may stand at the end of the others."""
    fields = sorted(head.fields)
    read = type(head)(head.fields).fields
    assert sorted(read) == fields
    return (
        head.method, head.path, head.query, head.host, head.length, head.marks, head.grpc, head.grpc_timeout,
        head.trace_id, fields, sorted(request_fields(head, b"http")),
    )  # fmt: skip


OWN = [
    (),
    (trace(7),),
    ((b"x-request-id", b"abc"), trace(7)),
    ((b"grpc-timeout", b"5S"),),
    ((b"grpc-timeout", b"5S"), trace(7), (b"content-length", b"10")),
    ((b"traceparent", b"not one"),),
    ((b"x-request-id", b"x" * 500),),
    (trace(7), trace(8)),
]


OWN_FIELDS = [field for own in OWN for field in own]


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("end", [False, True])
def test_a_head_that_is_known_but_for_its_own_fields_says_what_a_new_one_says(own: Any, end: bool) -> None:
    fresh = describe(RequestHeads(65_536).read(call(*own), end))
    heads = RequestHeads(65_536)
    for at in range(4):
        heads.read(call(trace(at), (b"grpc-timeout", b"%dm" % at)), end)
        assert describe(heads.read(call(*own), end)) == fresh


@pytest.mark.parametrize("before", OWN)
@pytest.mark.parametrize("own", OWN)
def test_a_head_that_follows_another_on_its_connection_says_what_a_new_one_says(before: Any, own: Any) -> None:
    heads, last = RequestHeads(65_536), LastHead()
    for _ in range(3):  # from the third on it is the last that is known
        heads.read(call(*before), False, last)
    for end in (False, True, False):
        assert describe(heads.read(call(*own), end, last)) == describe(RequestHeads(65_536).read(call(*own), end))


@given(
    fields=st.lists(
        st.sampled_from([*OWN_FIELDS, (b"x-tenant", b"team-b"), (b"x-user", b"u")]), unique=True, max_size=4
    )
)
def test_heads_of_one_connection_are_read_as_if_each_were_its_first(fields: list[Any]) -> None:
    heads, last = RequestHeads(65_536), LastHead()
    for count in (0, *range(len(fields)), len(fields), 0):
        for _ in range(3):
            head = heads.read(call(*fields[:count]), False, last)
            assert describe(head) == describe(RequestHeads(65_536).read(call(*fields[:count]), False))


@given(order=st.lists(st.tuples(st.integers(0, len(OWN) - 1), st.booleans()), max_size=12))
def test_heads_whose_fields_are_the_same_objects_are_each_one_of_its_own(order: list[tuple[int, bool]]) -> None:
    heads, last = RequestHeads(65_536), LastHead()
    fields = [call(*own) for own in OWN]
    for at, end in [*[(at, False) for at in range(len(OWN)) for _ in range(3)], *order, *order * 3]:
        head = heads.read(fields[at], end, last)
        assert describe(head) == describe(RequestHeads(65_536).read(fields[at], end))
        head.add(b"x-added", b"1")
        head.remove((b"x-tenant",))


def test_a_secret_in_the_place_of_another_field_of_the_last_head_is_one() -> None:
    heads, last = RequestHeads(65_536), LastHead()
    request_id = (b"x-request-id", b"abc")
    for field in (trace(7), request_id, trace(8)):
        for _ in range(3):
            assert heads.read(call(field), False, last).secrets == frozenset()
            assert heads.read(call(ngh2.NeverIndexedHeader(*field)), False, last).secrets == {field[0]}
    assert heads.read(call(ngh2.NeverIndexedHeader(*request_id)), False, last).secrets == {b"x-request-id"}


def test_an_answer_is_taken_for_the_last_one_if_it_is_that_in_all() -> None:
    heads, last = ResponseHeads(65_536), LastAnswer()
    answer = ((b":status", b"200"), (b"set-cookie", b"a=b"))
    for _ in range(3):
        assert heads.read(answer, False, last).secrets == frozenset()
        assert heads.read((answer[0], ngh2.NeverIndexedHeader(*answer[1])), False, last).secrets == {b"set-cookie"}
        assert heads.read(((b":status", b"404"), answer[1]), False, last).status == 404
        assert (heads.read(answer, False, last).length, heads.read(answer, True, last).length) == (CHUNKED, 0)
    heads.read(answer, False, last).add(b"x-added", b"1")
    assert heads.read(answer, False, last).fields == [(b"set-cookie", b"a=b")]


def test_two_deadlines_of_a_call_are_none_also_where_its_head_is_known() -> None:
    heads = RequestHeads(65_536)
    for _ in range(4):
        heads.read(call((b"grpc-timeout", b"5S")), False)
        with pytest.raises(MalformedError, match="twice"):
            heads.read(call((b"grpc-timeout", b"5S"), (b"grpc-timeout", b"6S")), False)


def test_a_secret_stays_one_and_makes_none_of_others() -> None:
    heads = RequestHeads(65_536)
    secret = ngh2.NeverIndexedHeader(*trace(7))
    for _ in range(4):
        assert heads.read(call(trace(7)), False).secrets == frozenset()
        assert heads.read(call(secret), False).secrets == {b"traceparent"}
        assert heads.read((*CALL[:-1], ngh2.NeverIndexedHeader(*CALL[-1]), trace(7)), False).secrets == {b"x-tenant"}


def test_a_timeout_of_what_is_no_call_is_a_field_like_others() -> None:
    heads = RequestHeads(65_536)
    plain = tuple(field for field in CALL if field[0] != b"content-type")
    for _ in range(4):
        head = heads.read((*plain, (b"grpc-timeout", b"5S")), False)
        assert (head.grpc_timeout, head.get(b"grpc-timeout")) == (b"", b"5S")


def test_a_length_that_is_none_is_refused_in_a_known_head_too() -> None:
    heads = RequestHeads(65_536)
    for _ in range(3):
        heads.read(call((b"content-length", b"3")), False)
    with pytest.raises(MalformedError):
        heads.read(call((b"content-length", b"3x")), False)
    assert heads.read(CALL, False).length == CHUNKED


def test_what_is_done_to_one_head_is_not_seen_in_the_next() -> None:
    heads = RequestHeads(65_536)
    for at in range(4):
        head = heads.read(call(trace(at)), False)
        assert head.get(b"x-added") is None
        assert (b"x-tenant", b"team-a") in head.fields
        head.add(b"x-added", b"1")
        head.remove((b"x-tenant",))
        head.add_with_id(b"\r\nx-forwarded-for: 1.2.3.4\r\nx-request-id: ", [(b"x-forwarded-for", b"1.2.3.4")], b"id")
        names = [name for name, _ in head.fields]
        assert names[-3:] == [b"x-added", b"x-forwarded-for", b"x-request-id"]
        assert names == [name for name, _ in type(head)(head.fields).fields]
        assert head.get(b"x-tenant") is None
