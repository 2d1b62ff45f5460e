"""The chunked coding by itself (RFC 9112 §7.1): never a byte lost, never one invented, wherever the reads end."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http1.chunked import ChunkedDecoder
from turnout.proxy.http1.encode import encode_chunk

EXTENSIONS = st.sampled_from([b"", b";x", b";x=1", b' ; x="a b"', b";", b"\t;\xff"])
SIZES = st.sampled_from([b"%x", b"%X", b"0%x", b"000000%x"])
CHUNKS = st.lists(st.tuples(SIZES, EXTENSIONS, st.binary(min_size=1, max_size=40)), max_size=5)
TRAILERS = st.lists(
    st.tuples(st.sampled_from([b"x-a", b"x-b"]), st.from_regex(rb"([!-~]([ -~]{0,8}[!-~])?)?", fullmatch=True)),
    max_size=3,
)


def encode(chunks, last, trailers):
    """A body in chunks, spelled as a sender may."""
    body = b"".join(size % len(data) + extension + b"\r\n" + data + b"\r\n" for size, extension, data in chunks)
    return body + last + b"\r\n" + b"".join(b"%b:%b\r\n" % trailer for trailer in trailers) + b"\r\n"


def feed_all(pieces):
    decoder = ChunkedDecoder()
    for piece in pieces:
        decoder.feed(piece)


def decode(pieces):
    decoder, body = ChunkedDecoder(), b""
    for index, piece in enumerate(pieces):
        body += decoder.feed(piece)
        if decoder.ended:
            return body, decoder.trailers, decoder.rest + b"".join(pieces[index + 1 :])
    raise AssertionError("the body has no end")


@given(
    chunks=CHUNKS, last=st.sampled_from([b"0", b"00", b"0;x"]), trailers=TRAILERS,
    behind=st.binary(max_size=20), cuts=st.lists(st.integers(0, 400), max_size=8),
)  # fmt: skip
def test_the_body_is_the_data_of_the_chunks_and_what_is_behind_stays_behind(
    cut_at, chunks, last, trailers, behind, cuts
):
    raw = encode(chunks, last, trailers) + behind
    expected = (b"".join(data for _, _, data in chunks), trailers, behind)
    assert decode([raw]) == expected
    assert decode(cut_at(raw, cuts)) == expected
    assert decode([raw[at : at + 1] for at in range(len(raw))]) == expected


@given(pieces=st.lists(st.binary(max_size=60), max_size=6), trailers=TRAILERS)
def test_what_is_encoded_decodes_to_itself(pieces, trailers):
    raw = b"".join(encode_chunk(piece, False, []) for piece in pieces) + encode_chunk(b"", True, trailers)
    assert decode([raw]) == (b"".join(pieces), trailers, b"")


@given(
    raw=st.lists(st.sampled_from([b"0", b"3", b"a", b"\r", b"\n", b"\r\n", b";", b" ", b"x:1", b"\x00"]), max_size=14)
)
@example(raw=[b"3", b"\r\n", b"a", b"a", b"a", b"\r\n", b"0", b"\r\n", b"\r\n"])
def test_any_bytes_are_read_to_the_same_end_whole_or_byte_by_byte(raw):
    raw = b"".join(raw)
    outcomes = []
    for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
        decoder, body = ChunkedDecoder(), b""
        try:
            for index, piece in enumerate(pieces):
                body += decoder.feed(piece)
                if decoder.ended:
                    outcomes.append((body, decoder.trailers, decoder.rest + b"".join(pieces[index + 1 :])))
                    break
            else:
                outcomes.append("unfinished")
        except MalformedError:
            outcomes.append("malformed")
    # A line that can't be good any more may be noticed only at its end.
    assert outcomes[0] == outcomes[1] or set(outcomes) == {"malformed", "unfinished"}


def test_data_comes_out_as_soon_as_it_is_there():
    decoder = ChunkedDecoder()
    assert decoder.feed(b"5\r\nab") == b"ab"
    assert decoder.feed(b"cd") == b"cd"
    assert decoder.feed(b"e\r\n5") == b"e"
    assert not decoder.ended


def test_chunks_of_one_read_come_out_together():
    assert ChunkedDecoder().feed(b"1\r\na\r\n1\r\nb\r\n1\r\nc") == b"abc"


@pytest.mark.parametrize("line", [b"1;" + b"x" * 10_000, b"0" * 10_000, b"1\r\na\r\n0\r\nX: " + b"y" * 10_000])
def test_a_line_without_end_is_refused_before_it_ends(line):
    for size in (len(line), 100):
        with pytest.raises(MalformedError):
            feed_all(line[at : at + size] for at in range(0, len(line), size))


def test_trailers_are_bounded_together():
    with pytest.raises(MalformedError):
        feed_all([b"0\r\n", *[b"X: " + b"y" * 1_000 + b"\r\n"] * 100])


@pytest.mark.parametrize(
    "name", [b"Content-Length", b"transfer-encoding", b"HOST", b"Connection", b"Authorization", b"Set-Cookie"]
)
def test_fields_that_frame_route_or_authenticate_do_not_come_late(name):
    decoder = ChunkedDecoder()
    decoder.feed(b"0\r\n%b: 1\r\nX-A: 2\r\n\r\n" % name)
    assert decoder.trailers == [(b"x-a", b"2")]
