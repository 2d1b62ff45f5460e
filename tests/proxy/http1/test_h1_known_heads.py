"""Heads that come again are not read again; nobody can tell, and nobody's change shows in another's."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import RequestHead, ResponseHead
from turnout.proxy.http.known import MAX_KNOWN, MAX_KNOWN_BYTES, KnownHeads
from turnout.proxy.http1.request_head import MAX_MISSES, PAUSE, RequestHeads
from turnout.proxy.http1.response_head import ResponseHeads

FIELDS = st.lists(
    st.sampled_from(
        [
            b"Connection: keep-alive, x-a",
            b"Connection: close",
            b"X-A: 1",
            b"x-b: two",
            b"Content-Length: 7",
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"TE: trailers",
            b"X-Envoy-Retry: 1",
        ]
    ),
    unique=True,
).map(b"\r\n".join)


def everything(head: RequestHead | ResponseHead) -> list[Any]:
    """All that a head says."""
    told = [(name, getattr(head, name)) for name in dir(head) if name[0] != "_" and name not in ("block", "fields")]
    return [head.fields, *((name, value) for name, value in told if not callable(value))]


def request(fields: bytes = b"", path: bytes = b"/v2/models/iris/infer?a=1") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: models.example:80%b\r\n\r\n" % (path, b"\r\n" + fields if fields else b"")


def response(fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nServer: uvicorn%b\r\n\r\n" % (b"\r\n" + fields if fields else b"")


@given(FIELDS)
def test_a_known_request_head_says_what_reading_it_says(fields: bytes) -> None:
    heads = RequestHeads()
    read = [everything(heads.read(request(fields))) for _ in range(2)]
    assert read[0] == read[1] == everything(heads.known[request(fields)].copy())


@given(FIELDS)
def test_a_known_response_head_says_what_reading_it_says(fields: bytes) -> None:
    heads = ResponseHeads()
    read = [everything(heads.read(response(fields))) for _ in range(2)]
    assert read[0] == read[1] == everything(heads.known[response(fields)].copy())


def test_what_is_changed_in_one_request_is_not_changed_in_the_next() -> None:
    heads = RequestHeads()
    for _ in range(2):
        head = heads.read(request(b"x-a: 1"))
        head.set(b"x-a", b"edited")
        head.authority, head.path, head.request_id = b"other", b"/", b"id"
    head = heads.known[request(b"x-a: 1")].copy()
    head.remove((b"x-a",))
    untouched = heads.known[request(b"x-a: 1")].copy()
    assert everything(untouched) == everything(RequestHeads().read(request(b"x-a: 1")))


def test_a_head_that_comes_once_is_not_kept() -> None:
    heads = RequestHeads()
    for number in range(50):
        heads.read(request(b"x-request-id: %d" % number))
    assert not heads.known


OWN = st.lists(
    st.sampled_from(
        [
            b"content-length: 7",
            b"Content-Length: 007",
            b"Content-Length: x7",
            b"content-length:  7",
            b"X-Request-ID: client-7",
            b"x-request-id: a b",
            b"x-request-id: ",
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"Traceparent: nonsense",
            b"traceparent:nothing",
        ]
    ),
    max_size=4,
)
REST = st.lists(
    st.sampled_from(
        [
            b"X-A: 1",
            b"Connection: keep-alive",
            b"Connection: close, traceparent",
            b"Connection: upgrade",
            b"Upgrade: websocket",
            b"Transfer-Encoding: chunked",
            b"X-Forwarded-For: 10.0.0.1",
            b"x-request-id: other",
            b"content-length:\t7",
        ]
    ),
    unique=True,
    max_size=4,
)


def outcome(heads: RequestHeads, raw: bytes) -> object:
    """What reading it says. Fields of different names may stand in any order."""
    try:
        said = everything(heads.read(raw))
    except MalformedError as error:
        return type(error)
    return sorted(said[0]), said[1:]


@given(rest=REST, owns=st.lists(OWN, min_size=3, max_size=6), seed=st.randoms(use_true_random=False))
def test_heads_that_differ_in_what_is_each_requests_own_say_what_reading_all_of_them_says(rest, owns, seed) -> None:
    heads = RequestHeads()
    for own in owns:
        lines = [*rest, *own]
        seed.shuffle(lines)
        raw = request(b"\r\n".join(lines))
        assert outcome(heads, raw) == outcome(RequestHeads(), raw)


def test_of_clients_that_never_repeat_themselves_nothing_is_learned_for_a_while() -> None:
    heads = RequestHeads()
    for number in range(MAX_MISSES):
        heads.read(request(path=b"/%d" % number))
    for _ in range(PAUSE):
        heads.read(request())
    assert not heads.known
    for _ in range(2):
        heads.read(request())
    assert list(heads.known) == [request()]


def test_what_is_kept_is_bounded_in_number_and_size() -> None:
    known: KnownHeads[bytes, RequestHead] = KnownHeads()
    for number in range(MAX_KNOWN + 1):
        known.keep(b"%d" % number, RequestHead())
    assert list(known.heads) == [b"%d" % MAX_KNOWN]
    heads = RequestHeads()
    for _ in range(2):
        heads.read(request(b"x-long: " + b"a" * MAX_KNOWN_BYTES))
    assert not heads.known


def test_a_head_that_comes_again_on_a_connection_is_told_like_the_first(read_requests) -> None:
    log = read_requests([request(b"Content-Length: 3") + b"abc" + (request(b"Content-Length: 3") + b"xyz") * 3])
    assert [bytes(message.body) for message in log.messages] == [b"abc", b"xyz", b"xyz", b"xyz"]
    assert len({message.head.path for message in log.messages}) == 1


def test_an_answer_that_copies_share_is_each_copys_own_once_it_was_edited() -> None:
    heads = RequestHeads()
    for _ in range(2):
        heads.read(request(b"x-a: 1"))
    first, second, third = (heads.known[request(b"x-a: 1")].copy() for _ in range(3))
    assert (first.get(b"x-a"), first.get(b"x-b")) == (b"1", None)
    second.set(b"x-a", b"2")
    second.add(b"x-b", b"3")
    assert (second.get(b"x-a"), second.get(b"x-b")) == (b"2", b"3")
    assert (third.get(b"x-a"), third.get(b"x-b")) == (b"1", None)


def test_what_a_filter_added_to_one_copy_is_not_found_in_another() -> None:
    heads = RequestHeads()
    for _ in range(2):
        heads.read(request())
    first, second = (heads.known[request()].copy() for _ in range(2))
    first.add_marked(b"\r\nx-request-id: one")
    assert first.get(b"x-request-id") == b"one"
    assert second.get(b"x-request-id") is None
