"""Frames of HTTP/2 for property tests: well made ones, and streams of those that are almost right."""

from hypothesis import strategies as st

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


def make_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


SMALL_BLOCKS = st.sampled_from([
    b"\x82\x86\x84\x41\x01a", b"\x83\x86\x84\x41\x01a", b"\x88", b"\x8d", b"\x82", b"\x00\x01a\x01b", b"\x40\x01a\x01b",
    b"\x10\x01a\x01b", b"\xbe", b"\x20", b"\x3f\xe1\x1f", b"\x0f\x0d\x015", b"\x00\x02te\x08trailers", b"\x00\x00\x00",
    b"\x00\x0atransfer-e", b"\x00\x01A\x01b", b"\x00\x07:status\x03200", b"\x00\x09:protocol\x09websocket",
])  # fmt: skip
BLOCKS = st.lists(SMALL_BLOCKS | st.binary(max_size=12), max_size=6).map(b"".join)
PAYLOADS = st.one_of(
    BLOCKS, st.binary(max_size=40),
    st.sampled_from([bytes(4), bytes(8), b"\0\0\0\1", b"\x7f\xff\xff\xff", bytes(20_000)]),
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3, 4, 5, 6, 8, 9, 99]), st.sampled_from([0, 1, 2, 16_384, 65_535, 1 << 31])),
        max_size=4,
    ).map(lambda pairs: b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs)),
)  # fmt: skip


def encode(parts: tuple[int, int, int, bytes, int]) -> bytes:
    kind, flags, stream, payload, off = parts
    return max(len(payload) + off, 0).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


FRAMES = st.tuples(
    st.sampled_from([0, 0, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 0x10, 0x42]),
    st.sampled_from([0, 1, 4, 4, 5, 5, 8, 0xC, 0x20, 0x24, 0xFF]),
    st.sampled_from([0, 1, 1, 1, 2, 3, 3, 5, 7, 0x7FFF_FFFF, 1 << 31]),
    PAYLOADS,
    st.sampled_from([0] * 12 + [1, -1]),
).map(encode)
STREAMS = st.lists(FRAMES | st.binary(max_size=30), max_size=20).map(b"".join)
