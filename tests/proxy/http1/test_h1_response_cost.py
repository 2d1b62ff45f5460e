"""What a head of an answer costs must grow with its bytes, not with the number of pieces that it comes in."""

import time

from turnout.proxy.http.head import ResponseHead
from turnout.proxy.http1.response import ResponseDecoder, State
from turnout.proxy.http1.response_head import ResponseHeads

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + b"a: b\r\n" * 10_000 + b"\r\n"
PIECE_BYTES = 16
MAX_CPU_S = 0.5
"""About twenty times what it takes; what searches all again at each piece takes three times as much as this."""


class Silent:
    """Listens, and keeps nothing."""

    def on_interim(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None: ...

    def on_response_body(self, data: bytes, end: bool) -> None: ...

    def on_tunnel_data(self, data: bytes) -> None: ...


def test_a_head_in_many_pieces_costs_no_more_than_its_bytes() -> None:
    decoder = ResponseDecoder(Silent(), ResponseHeads(), 65_536)
    decoder.expect(b"GET")
    before = time.process_time()
    for start in range(0, len(HEAD), PIECE_BYTES):
        decoder.feed(HEAD[start : start + PIECE_BYTES])
    assert decoder.state == State.DONE
    assert time.process_time() - before < MAX_CPU_S
