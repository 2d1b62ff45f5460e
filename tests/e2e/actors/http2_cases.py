"""What a server must say to each frame that it must not get, or must bear: rules of RFC 9113 and RFC 7541, as a table.

A case begins in a state of stream 1, sends its bytes, and expects an answer:

    idle: only the connection is there · open: a request without its end · asked: a whole request, not answered
    answered: both sides have ended · reset: the client reset an open stream

`connection` is GOAWAY with that code and then the end; `stream` is RST_STREAM with it; `either` is one of them; and
`ignored` is neither. After all but GOAWAY the connection serves the next request.
"""

from collections.abc import Callable
from typing import NamedTuple

from actors.http2_wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Http2Wire,
    data,
    frame,
    reset,
    settings,
    window,
)
from actors.wire import Fields

PROTOCOL, FLOW_CONTROL, CLOSED, SIZE, COMPRESSION = 1, 3, 5, 6, 9
MAX_FRAME_BYTES = 16_384
MAX_WINDOW = 0x7FFF_FFFF
FIRST, SECOND = 1, 3

Build = Callable[[Http2Wire, Fields], bytes]
"""The bytes of a case, with the fields of a request that would be served."""


class Case(NamedTuple):
    """One rule; `codes` are the error codes that are right, of which the RFC sometimes gives several."""

    name: str
    state: str
    build: Build
    answer: str
    codes: tuple[int, ...] = ()


def case(name: str, state: str, build: Build | bytes, answer: str, *codes: int) -> Case:
    return Case(name, state, build if callable(build) else lambda *_: build, answer, codes)


def fatal(name: str, state: str, build: Build | bytes, *codes: int) -> Case:
    return case(name, state, build, "connection", *codes)


def refused(name: str, state: str, build: Build | bytes, *codes: int) -> Case:
    return case(name, state, build, "stream", *codes)


def lax(name: str, state: str, build: Build | bytes) -> Case:
    """What libnghttp2 lets pass and the RFC would end: it keeps no record of streams that are over, and reads no
    PRIORITY. Nothing of such a frame is acted on, and HPACK and the windows stay right."""
    return case(name, state, build, "ignored")


def borne(name: str, state: str, build: Build | bytes) -> Case:
    return case(name, state, build, "ignored")


def raw_head(block: bytes, *, flags: int = END_HEADERS | END_STREAM, stream: int = FIRST) -> bytes:
    return frame(HEADERS, flags, stream, block)


def with_fields(*more: tuple[str, str], without: str = "", end: bool = True, then: bytes = b"") -> Build:
    """A request on stream 1 with fields added behind, or without one."""

    def build(wire: Http2Wire, fields: Fields) -> bytes:
        return wire.head(FIRST, [*(field for field in fields if field[0] != without), *more], end=end) + then

    return build


def with_pseudo(name: str, value: str) -> Build:
    """A request in which a pseudo-field has another value."""
    return lambda wire, fields: wire.head(FIRST, [(key, value if key == name else old) for key, old in fields])


def split_head(*between: bytes, ends: bool = False, flags: int = END_STREAM) -> Build:
    """A head in two frames, and what comes between them; `ends` says that the first was all."""

    def build(wire: Http2Wire, fields: Fields) -> bytes:
        block = wire.block(fields)
        first = raw_head(block[:2], flags=flags | (END_HEADERS if ends else 0))
        return b"".join((first, *between, frame(CONTINUATION, END_HEADERS, FIRST, block[2:])))

    return build


def in_block(extra: bytes, *, before: bool = False, adds: tuple[bytes, bytes] | None = None) -> Build:
    """A request whose block has more behind it, or before it; `adds` is what that puts into the table."""

    def build(wire: Http2Wire, fields: Fields) -> bytes:
        block = wire.block(fields)
        if adds is not None:
            wire.on_added(*adds)
        return raw_head(extra + block if before else block + extra)

    return build


def trailers(*fields: tuple[str, str], end: bool = True) -> Build:
    return lambda wire, _: wire.head(FIRST, list(fields), end=end)


def prioritised(payload: bytes) -> Build:
    flags = END_HEADERS | END_STREAM | WITH_PRIORITY
    return lambda wire, fields: raw_head(payload + wire.block(fields), flags=flags)


def dependency(stream: int, weight: int = 15, *, exclusive: bool = False) -> bytes:
    return (stream | (exclusive << 31)).to_bytes(4, "big") + bytes((weight,))


CONNECTION_FRAMES = [  # they have stream 0 and no other (§6.5, §6.7, §6.8)
    fatal("SETTINGS on a stream", "idle", frame(SETTINGS, 0, FIRST), PROTOCOL),
    fatal("SETTINGS on an open stream", "open", frame(SETTINGS, 0, FIRST), PROTOCOL),
    fatal("PING on a stream", "idle", frame(PING, 0, FIRST, bytes(8)), PROTOCOL),
    fatal("GOAWAY on a stream", "idle", frame(GOAWAY, 0, FIRST, bytes(8)), PROTOCOL),
    fatal("DATA on stream 0", "idle", frame(DATA, END_STREAM, 0, b"x"), PROTOCOL),
    fatal("HEADERS on stream 0", "idle", lambda w, f: raw_head(w.block(f), stream=0), PROTOCOL),
    lax("PRIORITY on stream 0", "idle", frame(PRIORITY, 0, 0, dependency(0))),
    fatal("RST_STREAM on stream 0", "idle", reset(0), PROTOCOL),
    fatal("CONTINUATION on stream 0", "idle", split_head(frame(CONTINUATION, END_HEADERS, 0, b"")), PROTOCOL),
    fatal("PUSH_PROMISE from a client", "open", frame(PUSH_PROMISE, END_HEADERS, FIRST, bytes(4)), PROTOCOL),
    fatal("PUSH_PROMISE on stream 0", "idle", frame(PUSH_PROMISE, END_HEADERS, 0, bytes(4)), PROTOCOL),
]

SIZES = [
    fatal("SETTINGS of 5 bytes", "idle", frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    fatal("SETTINGS of 3 bytes", "idle", frame(SETTINGS, 0, 0, bytes(3)), SIZE),
    fatal("an acknowledgement with a payload", "idle", frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    fatal("an acknowledgement with one byte", "idle", frame(SETTINGS, ACK, 0, b"x"), SIZE),
    fatal("PING of 6 bytes", "idle", frame(PING, 0, 0, bytes(6)), SIZE),
    fatal("PING of 9 bytes", "idle", frame(PING, 0, 0, bytes(9)), SIZE),
    fatal("an empty PING", "idle", frame(PING), SIZE),
    fatal("WINDOW_UPDATE of 3 bytes", "idle", frame(WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    fatal("WINDOW_UPDATE of 5 bytes on a stream", "open", frame(WINDOW_UPDATE, 0, FIRST, bytes(5)), SIZE),
    fatal("RST_STREAM of 3 bytes", "open", frame(RST_STREAM, 0, FIRST, bytes(3)), SIZE),
    fatal("RST_STREAM of 5 bytes", "open", frame(RST_STREAM, 0, FIRST, bytes(5)), SIZE),
    fatal("GOAWAY of 7 bytes", "idle", frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    case("PRIORITY of 4 bytes", "open", frame(PRIORITY, 0, FIRST, bytes(4)), "either", SIZE),
    case("PRIORITY of 6 bytes on an idle stream", "idle", frame(PRIORITY, 0, FIRST, bytes(6)), "either", SIZE),
    case("DATA beyond SETTINGS_MAX_FRAME_SIZE", "open", data(FIRST, bytes(MAX_FRAME_BYTES + 1)), "either", SIZE),
    fatal("HEADERS beyond SETTINGS_MAX_FRAME_SIZE", "idle", raw_head(bytes(MAX_FRAME_BYTES + 1)), SIZE),
    fatal("CONTINUATION beyond SETTINGS_MAX_FRAME_SIZE", "idle",
          split_head(frame(CONTINUATION, 0, FIRST, bytes(MAX_FRAME_BYTES + 1))), SIZE, COMPRESSION),
    fatal("PING beyond SETTINGS_MAX_FRAME_SIZE", "idle", frame(PING, 0, 0, bytes(MAX_FRAME_BYTES + 1)), SIZE),
    fatal("an unknown frame beyond SETTINGS_MAX_FRAME_SIZE", "idle", frame(99, 0, 0, bytes(MAX_FRAME_BYTES + 1)), SIZE),
    fatal("padding as long as DATA", "open", frame(DATA, PADDED, FIRST, b"\x05abcd"), PROTOCOL),
    fatal("padding longer than DATA", "open", frame(DATA, PADDED | END_STREAM, FIRST, b"\xffabcd"), PROTOCOL),
    case("padded DATA without a pad length", "open", frame(DATA, PADDED, FIRST), "fatal", PROTOCOL, SIZE),
    fatal("padding longer than HEADERS", "idle",
          lambda w, f: raw_head(b"\xff" + w.block(f)[:8], flags=END_HEADERS | END_STREAM | PADDED), PROTOCOL),
    case("HEADERS too short for their priority", "idle",
         raw_head(bytes(4), flags=END_HEADERS | END_STREAM | WITH_PRIORITY), "fatal", PROTOCOL, SIZE),
]  # fmt: skip

STATES = [
    fatal("DATA on an idle stream", "idle", data(FIRST, b"x", end=True), PROTOCOL, CLOSED),
    fatal("RST_STREAM on an idle stream", "idle", reset(FIRST), PROTOCOL),
    fatal("WINDOW_UPDATE on an idle stream", "idle", window(FIRST, 100), PROTOCOL),
    fatal("CONTINUATION on an idle stream", "idle",
          lambda w, f: frame(CONTINUATION, END_HEADERS, FIRST, w.block(f)), PROTOCOL),
    fatal("a stream with an even number", "idle", lambda w, f: w.head(2, f), PROTOCOL),
    lax("a stream below one that was opened", "idle", lambda w, f: w.head(5, f) + w.head(SECOND, f)),
    case("DATA behind the end", "asked", data(FIRST, b"x", end=True), "either", CLOSED),
    case("HEADERS behind the end", "asked", lambda w, f: w.head(FIRST, f), "either", CLOSED),
    case("CONTINUATION behind the end", "asked", frame(CONTINUATION, END_HEADERS, FIRST, b""), "either",
         CLOSED, PROTOCOL),
    lax("DATA behind a reset", "reset", data(FIRST, b"x", end=True)),
    lax("HEADERS behind a reset", "reset", lambda w, f: w.head(FIRST, f)),
    case("CONTINUATION behind a reset", "reset", frame(CONTINUATION, END_HEADERS, FIRST, b""), "either",
         CLOSED, PROTOCOL),
    lax("DATA on a closed stream", "answered", data(FIRST, b"x", end=True)),
    lax("HEADERS on a closed stream", "answered", lambda w, f: w.head(FIRST, f)),
    fatal("CONTINUATION on a closed stream", "answered", frame(CONTINUATION, END_HEADERS, FIRST, b""),
          CLOSED, PROTOCOL),
    borne("WINDOW_UPDATE on a closed stream", "answered", window(FIRST, 100)),
    borne("WINDOW_UPDATE behind the end", "asked", window(FIRST, 100)),
    borne("WINDOW_UPDATE behind a reset", "reset", window(FIRST, 100)),
    borne("RST_STREAM behind the end", "asked", reset(FIRST)),
    borne("RST_STREAM on a closed stream", "answered", reset(FIRST)),
    borne("RST_STREAM with an unknown code", "open", reset(FIRST, 0xFF)),
    borne("PRIORITY on an idle stream", "idle", frame(PRIORITY, 0, 9, dependency(0))),
    borne("PRIORITY behind the end", "asked", frame(PRIORITY, 0, FIRST, dependency(0))),
    borne("PRIORITY on a closed stream", "answered", frame(PRIORITY, 0, FIRST, dependency(0))),
    borne("PRIORITY behind a reset", "reset", frame(PRIORITY, 0, FIRST, dependency(0))),
]  # fmt: skip

BLOCKS = [  # a head is one piece: nothing may come between its frames (§4.3, §6.10)
    fatal("PRIORITY within a head", "idle", split_head(frame(PRIORITY, 0, FIRST, dependency(0))), PROTOCOL),
    fatal("PRIORITY of another stream within a head", "idle",
          split_head(frame(PRIORITY, 0, SECOND, dependency(0))), PROTOCOL),
    fatal("DATA within a head", "idle", split_head(data(FIRST, b"x")), PROTOCOL),
    fatal("PING within a head", "idle", split_head(frame(PING, 0, 0, bytes(8))), PROTOCOL),
    fatal("SETTINGS within a head", "idle", split_head(settings()), PROTOCOL),
    fatal("an unknown frame within a head", "idle", split_head(frame(99, 0, FIRST, b"x")), PROTOCOL),
    fatal("another stream's HEADERS within a head", "idle",
          lambda w, f: raw_head(w.block(f), flags=END_STREAM) + w.head(SECOND, f), PROTOCOL),
    fatal("another stream's CONTINUATION within a head", "idle",
          split_head(frame(CONTINUATION, END_HEADERS, SECOND, b"")), PROTOCOL),
    fatal("CONTINUATION behind a whole head", "idle", split_head(ends=True, flags=0), PROTOCOL),
    fatal("CONTINUATION behind the last one", "idle",
          lambda w, f: split_head()(w, f) + frame(CONTINUATION, END_HEADERS, FIRST, b""), PROTOCOL, CLOSED),
    fatal("CONTINUATION behind DATA", "open",
          data(FIRST, b"x") + frame(CONTINUATION, END_HEADERS, FIRST, b""), PROTOCOL),
    borne("a head in two frames", "idle", split_head()),
    borne("a head in three frames", "idle", split_head(frame(CONTINUATION, 0, FIRST, b""))),
]  # fmt: skip

AGENT, X_A = (b"user-agent", b"x"), (b"x-a", b"x")

COMPRESSED = [  # RFC 7541
    fatal("a block that is none", "idle", raw_head(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), COMPRESSION),
    fatal("a block that ends within a field", "idle", lambda w, f: raw_head(w.block(f) + b"\x40\x05ab"), COMPRESSION),
    fatal("index 0", "idle", in_block(b"\x80"), COMPRESSION),
    fatal("an index beyond the tables", "idle", in_block(b"\xc6\x80"), COMPRESSION),
    fatal("a name's index beyond the tables", "idle", in_block(b"\x7f\x40\x01x"), COMPRESSION),
    fatal("a huge integer", "idle", in_block(b"\xff" + b"\xff" * 12 + b"\x01"), COMPRESSION),
    fatal("a table size behind a field", "idle", in_block(b"\x20"), COMPRESSION),
    fatal("a table size beyond the setting", "idle", in_block(b"\x3f\xe1\xff\x03", before=True), COMPRESSION),
    fatal("Huffman padding of more than 7 bits", "idle", in_block(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
          COMPRESSION),
    fatal("Huffman padding of zeros", "idle", in_block(b"\x00\x85\xf2\xb2\x4a\x87\xff\x83\x49\x50\x90"), COMPRESSION),
    fatal("Huffman with the end symbol", "idle",
          in_block(b"\x00\x85\xf2\xb2\x4a\x87\xff\x87\xff\xff\xff\xff\xff\xff\xff"), COMPRESSION),
    borne("a table size of 0, then one that is allowed", "idle", in_block(b"\x20\x3f\xe1\x1f", before=True)),
    borne("a literal with an indexed name", "idle", in_block(b"\x7a\x01x", adds=AGENT)),
    borne("a literal with an indexed name, by Huffman", "idle", in_block(b"\x7a\x81\xf3", adds=AGENT)),
    borne("a literal with a new name, indexed", "idle", in_block(b"\x40\x03x-a\x01x", adds=X_A)),
    borne("a literal with a new name, by Huffman, indexed", "idle",
          in_block(b"\x40\x83\xf2\xb0\xff\x81\xf3", adds=X_A)),
    borne("a literal without indexing, name indexed", "idle", in_block(b"\x0f\x2b\x01x")),
    borne("a literal without indexing, name indexed, by Huffman", "idle", in_block(b"\x0f\x2b\x81\xf3")),
    borne("a literal without indexing, name new", "idle", in_block(b"\x00\x03x-a\x01x")),
    borne("a literal without indexing, name new, by Huffman", "idle", in_block(b"\x00\x83\xf2\xb0\xff\x81\xf3")),
    borne("a literal never indexed, name indexed", "idle", in_block(b"\x1f\x2b\x01x")),
    borne("a literal never indexed, name indexed, by Huffman", "idle", in_block(b"\x1f\x2b\x81\xf3")),
    borne("a literal never indexed, name new", "idle", in_block(b"\x10\x03x-a\x01x")),
    borne("a literal never indexed, name new, by Huffman", "idle", in_block(b"\x10\x83\xf2\xb0\xff\x81\xf3")),
]  # fmt: skip

WINDOWS_AND_SETTINGS = [
    fatal("an increment of 0", "idle", window(0, 0), PROTOCOL),
    case("an increment of 0 on a stream", "open", window(FIRST, 0), "either", PROTOCOL),
    fatal("a window beyond 2^31-1", "idle", window(0, MAX_WINDOW) * 2, FLOW_CONTROL),
    case("a stream's window beyond 2^31-1", "open", window(FIRST, MAX_WINDOW) * 2, "either", FLOW_CONTROL),
    fatal("INITIAL_WINDOW_SIZE that makes a window too large", "open",
          window(FIRST, MAX_WINDOW - 65_535) + settings((4, 65_536)), FLOW_CONTROL),
    fatal("INITIAL_WINDOW_SIZE beyond 2^31-1", "idle", settings((4, MAX_WINDOW + 1)), FLOW_CONTROL),
    fatal("ENABLE_PUSH of 2", "idle", settings((2, 2)), PROTOCOL),
    fatal("MAX_FRAME_SIZE below 2^14", "idle", settings((5, MAX_FRAME_BYTES - 1)), PROTOCOL),
    fatal("MAX_FRAME_SIZE beyond 2^24-1", "idle", settings((5, 1 << 24)), PROTOCOL),
    fatal("ENABLE_CONNECT_PROTOCOL of 2", "idle", settings((8, 2)), PROTOCOL),
    fatal("more DATA than the stream's window", "open", data(FIRST, bytes(MAX_FRAME_BYTES)) * 100, FLOW_CONTROL),
    borne("settings that nobody knows", "idle", settings((0xFF, 1), (0x4242, 7))),
    borne("no settings", "idle", settings()),
]  # fmt: skip

BORNE = [
    borne("a frame of an unknown type", "idle", frame(0x42, 0xFF, 0, b"whatever")),
    borne("a frame of an unknown type on a stream", "open",
          frame(0x42, 0, FIRST, b"whatever") + data(FIRST, b"", end=True)),
    borne("flags that nobody knows", "idle", frame(PING, 0x16, 0, bytes(8))),
    borne("the reserved bit of a stream's number", "idle", frame(PING, 0, 1 << 31, bytes(8))),
    borne("the reserved bit of an increment", "idle", frame(WINDOW_UPDATE, 0, 0, b"\x80\x00\x00\x01")),
    borne("PING that was not asked for", "idle", frame(PING, ACK, 0, b"unasked!")),
    borne("empty DATA", "open", data(FIRST, b"") + data(FIRST, b"", end=True)),
    borne("DATA of the largest size", "open", data(FIRST, bytes(MAX_FRAME_BYTES), end=True)),
    borne("padded DATA", "open", frame(DATA, PADDED | END_STREAM, FIRST, b"\x05abc" + bytes(5))),
    borne("padded HEADERS", "idle",
          lambda w, f: raw_head(b"\x05" + w.block(f) + bytes(5), flags=END_HEADERS | END_STREAM | PADDED)),
    borne("HEADERS with a priority", "idle", prioritised(dependency(0, 255, exclusive=True))),
    borne("PRIORITY of weight 1", "idle", frame(PRIORITY, 0, FIRST, dependency(0, 0))),
    borne("PRIORITY of weight 256", "idle", frame(PRIORITY, 0, FIRST, dependency(0, 255))),
    borne("PRIORITY that depends on another stream", "idle", frame(PRIORITY, 0, SECOND, dependency(FIRST))),
    borne("PRIORITY that depends on itself", "idle", frame(PRIORITY, 0, FIRST, dependency(FIRST))),  # no rule any more
    case("HEADERS that depend on themselves", "idle", prioritised(dependency(FIRST)), "either", PROTOCOL),
    borne("PRIORITY that is exclusive", "idle", frame(PRIORITY, 0, SECOND, dependency(FIRST, exclusive=True))),
    borne("trailers", "open", trailers(("x-sum", "7"))),
    borne("many pieces of a body", "open", data(FIRST, b"abc") * 20 + data(FIRST, b"", end=True)),
]  # fmt: skip

MESSAGES = [  # malformed ones are a matter of their stream alone (§8.1.1)
    refused("an upper-case name", "idle", with_fields(("X-Test", "ok")), PROTOCOL),
    refused("a NUL in a pseudo-field", "idle", with_pseudo(":authority", "\x00"), PROTOCOL),
    refused("a pseudo-field behind the fields", "idle", with_fields(("x-a", "1"), (":authority", "a")), PROTOCOL),
    refused("a pseudo-field that nobody defined", "idle",
            lambda w, f: w.head(FIRST, [*f, (":test", "ok")]), PROTOCOL),
    refused(":status in a request", "idle", lambda w, f: w.head(FIRST, [*f, (":status", "200")]), PROTOCOL),
    refused(":protocol without CONNECT", "idle", lambda w, f: w.head(FIRST, [*f, (":protocol", "x")]), PROTOCOL),
    refused("a pseudo-field in trailers", "open", trailers((":method", "GET")), PROTOCOL),
    refused("an unknown pseudo-field in trailers", "open", trailers((":x", "1")), PROTOCOL),
    refused("an upper-case name in trailers", "open", trailers(("X-A", "1")), PROTOCOL),
    refused("a head in place of trailers, without the end", "open", trailers(("x-a", "1"), end=False), PROTOCOL),
    refused("Connection", "idle", with_fields(("connection", "keep-alive")), PROTOCOL),
    refused("Proxy-Connection", "idle", with_fields(("proxy-connection", "close")), PROTOCOL),
    refused("Keep-Alive", "idle", with_fields(("keep-alive", "timeout=5")), PROTOCOL),
    refused("Transfer-Encoding", "idle", with_fields(("transfer-encoding", "chunked")), PROTOCOL),
    refused("Upgrade", "idle", with_fields(("upgrade", "h2c")), PROTOCOL),
    refused("TE with anything but trailers", "idle", with_fields(("te", "trailers, deflate;q=0.5")), PROTOCOL),
    refused("an empty :path", "idle", with_pseudo(":path", ""), PROTOCOL),
    refused("no :method", "idle", with_fields(without=":method"), PROTOCOL),
    refused("no :scheme", "idle", with_fields(without=":scheme"), PROTOCOL),
    refused("no :path", "idle", with_fields(without=":path"), PROTOCOL),
    refused(":method twice", "idle", lambda w, f: w.head(FIRST, [(":method", "GET"), *f]), PROTOCOL),
    refused(":scheme twice", "idle", lambda w, f: w.head(FIRST, [(":scheme", "http"), *f]), PROTOCOL),
    refused(":path twice", "idle", lambda w, f: w.head(FIRST, [(":path", "/"), *f]), PROTOCOL),
    refused(":authority twice", "idle", lambda w, f: w.head(FIRST, [(":authority", "a"), *f]), PROTOCOL),
    refused("a Content-Length that DATA falls short of", "idle",
            with_fields(("content-length", "5"), end=False, then=data(FIRST, b"abcd", end=True)), PROTOCOL),
    refused("a Content-Length that several DATA fall short of", "idle",
            with_fields(("content-length", "9"), end=False, then=data(FIRST, b"ab") + data(FIRST, b"cd", end=True)),
            PROTOCOL),
    refused("a Content-Length that DATA goes beyond", "idle",
            with_fields(("content-length", "1"), end=False, then=data(FIRST, b"abcd", end=True)), PROTOCOL),
    refused("a Content-Length without any DATA", "idle", with_fields(("content-length", "1")), PROTOCOL),
    refused("a Content-Length that trailers cut short", "idle",
            lambda w, f: with_fields(("content-length", "1"), end=False)(w, f) + w.head(FIRST, [("x-a", "1")]),
            PROTOCOL),
    borne("a request with HEAD", "idle", with_pseudo(":method", "HEAD")),
    borne("a request with POST", "idle", with_pseudo(":method", "POST")),
]  # fmt: skip

CASES = [
    *CONNECTION_FRAMES, *SIZES, *STATES, *BLOCKS, *COMPRESSED, *WINDOWS_AND_SETTINGS, *BORNE, *MESSAGES,
]  # fmt: skip
