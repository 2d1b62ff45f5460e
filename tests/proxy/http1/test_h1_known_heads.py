"""Heads that come again are not read again; nobody can tell, and nobody's change shows in another's."""

from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.head import RequestHead, ResponseHead
from turnout.proxy.http1.heads import MAX_KNOWN, MAX_KNOWN_BYTES
from turnout.proxy.http1.request_head import RequestHeads
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


def everything(head: RequestHead | ResponseHead) -> list[object]:
    """All that a head says."""
    slots = [name for kind in type(head).__mro__ for name in getattr(kind, "__slots__", ())]
    return [head.fields, *(getattr(head, name) for name in slots if not name.startswith("_"))]


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


def test_what_is_kept_is_bounded_in_number_and_size() -> None:
    heads = RequestHeads()
    for number in range(MAX_KNOWN + 1):
        for _ in range(2):
            heads.read(request(path=b"/%d" % number))
    assert list(heads.known) == [request(path=b"/%d" % MAX_KNOWN)]
    for _ in range(2):
        heads.read(request(b"x-long: " + b"a" * MAX_KNOWN_BYTES))
    assert len(heads.known) == 1


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
