"""Whatever an upstream sends: the client reads, with another parser, what was sent minus hop-by-hop, or nothing."""

from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.fields import MalformedError

NAMES = st.sampled_from([b"x-a", b"X-B", b"Server", b"content-type", b"Set-Cookie", b"x_c", b"ETag"])
VALUES = st.from_regex(rb"([!-~\x80-\xff]([\t -~\x80-\xff]{0,12}[!-~\x80-\xff])?)?", fullmatch=True)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
HOP_BY_HOP = st.lists(
    st.sampled_from([b"Connection: x-a", b"connection: close, X-B", b"Keep-Alive: timeout=5", b"Proxy-Connection: x"]),
    max_size=2, unique=True,
)  # fmt: skip
CHUNKS = st.lists(st.tuples(st.sampled_from([b"", b";x=1"]), st.binary(min_size=1, max_size=30)), max_size=4)
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST"])
INTERIM = st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"])


@st.composite
def responses(draw):
    """The method, the bytes of its answer, and what has to be left: status, fields, body."""
    method, status = draw(METHODS), draw(st.sampled_from([200, 201, 204, 304, 404, 500, 599]))
    fields, hop_by_hop = draw(FIELDS), draw(HOP_BY_HOP)
    framing: list[bytes] = []
    wire = body = b""
    if status != 204 and draw(st.booleans()):
        body = draw(st.binary(max_size=60))
        framing, wire = [b"Content-Length: %d" % len(body)], body
    elif status != 204:
        chunks = draw(CHUNKS)
        body = b"".join(data for _, data in chunks)
        framing = [b"Transfer-Encoding: chunked"]
        wire = b"".join(b"%x%b\r\n%b\r\n" % (len(data), extension, data) for extension, data in chunks) + b"0\r\n\r\n"
    if method == b"HEAD" or status in (204, 304):
        wire = body = b""
    named = {b"x-a" for line in hop_by_hop if b"x-a" in line} | {b"x-b" for line in hop_by_hop if b"X-B" in line}
    kept = [(name.lower(), value) for name, value in fields if name.lower() not in named]
    lines = draw(st.permutations([*framing, *hop_by_hop])) + [b"%b: %b" % field for field in fields]
    raw = draw(INTERIM) + b"\r\n".join([b"HTTP/1.1 %d Any" % status, *lines]) + b"\r\n\r\n" + wire
    return method, raw, status, kept, body


def name_of(field):
    return field[0]


FRAMING_NAMES = {b"content-length", b"transfer-encoding"}


@given(response=responses())
def test_an_answer_arrives_as_it_was_minus_hop_by_hop(read_response, pass_on, response):
    method, raw, status, fields, body = response
    log = read_response([raw], method)
    assert log.error is None
    assert log.answer.ended
    got = pass_on(log.answer, method)
    assert (got.start, got.body) == ((status,), body)
    kept = [field for field in got.fields if field[0] not in FRAMING_NAMES]
    assert sorted(kept, key=name_of) == sorted(fields, key=name_of)


@given(response=responses(), cuts=st.lists(st.integers(1, 400), max_size=10))
def test_every_split_of_the_bytes_tells_the_same(read_response, cut_at, response, cuts):
    method, raw, *_ = response
    whole = read_response([raw], method)
    for pieces in (
        cut_at(raw, cuts),
        [raw[at : at + 1] for at in range(len(raw))],
    ):
        log = read_response(pieces, method)
        assert log.answer.summary() == whole.answer.summary()
        assert [head.status for head in log.interim] == [head.status for head in whole.interim]


NOISE = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b"\x0b", b"\xff", b"0", b";", b"HTTP/1.1 200 OK\r\n"]
)
NOISE |= st.sampled_from([b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b"\r\n ", b"\r\n\r\n"])
NOISE |= st.binary(min_size=1, max_size=2)
MUTATIONS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), NOISE), min_size=1, max_size=3)


@given(response=responses(), mutations=MUTATIONS)
def test_mutated_answers_are_errors_or_read_as_another_parser_reads_them(read_response, pass_on, response, mutations):
    method, raw, *_ = response
    for place, width, noise in mutations:
        at = int(place * len(raw))
        raw = raw[:at] + noise + raw[at + width :]
    log = read_response([raw], method)
    assert log.error is None or isinstance(log.error, MalformedError)
    if log.message is not None and not log.message.ended:
        log.decoder.feed_eof()
    if log.message is not None and log.message.ended:
        head, body = log.message.head, log.message.body
        got = pass_on(log.message, method)
        assert (got.start, got.body) == ((head.status,), body)


@given(raw=st.binary(max_size=300))
def test_random_bytes_are_an_error_or_not_yet_anything(read_response, raw):
    log = read_response([raw])
    assert log.message is None
    assert log.interim == []
