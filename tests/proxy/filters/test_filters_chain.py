"""Filters applied at once do what they do one after the other."""

from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.filters.chain import REQUEST_FILTERS, apply_request_filters
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http1.request_head import RequestHeads

LINES = st.lists(
    st.sampled_from(
        [
            b"X-A: 1",
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"X-Forwarded-For: 10.0.0.1",
            b"X-Forwarded-Proto: https",
            b"X-Request-Id: client-7",
            b"X-Envoy-Retry-On: 5xx",
            b"X-Gateway-Model-Name: llama",
        ]
    ),
    unique=True,
)


def fields(head: RequestHead) -> list[tuple[bytes, bytes]]:
    """All fields; an id that was made is as good as another."""
    made = head.request_id != b"client-7"
    return [(name, b"made" if made and name == b"x-request-id" else value) for name, value in head.fields]


@given(lines=LINES, trusted=st.booleans())
def test_the_chain_at_once_is_the_chain_step_by_step(lines: list[bytes], trusted: bool) -> None:
    raw = b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *lines, b"", b""])
    peer = Peer(b"192.0.2.1", trusted=trusted)
    at_once, stepwise = RequestHeads().read(raw), RequestHeads().read(raw)
    apply_request_filters(at_once, peer)
    for apply in REQUEST_FILTERS:
        apply(stepwise, peer)
    assert fields(at_once) == fields(stepwise)
    assert dict(at_once.fields)[b"x-request-id"] == at_once.request_id
