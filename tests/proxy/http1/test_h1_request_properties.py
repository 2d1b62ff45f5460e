"""Whatever comes in: what is forwarded reads, to other parsers, as what came in minus hop-by-hop, and plus nothing."""

import h11
from hypothesis import example, given
from hypothesis import strategies as st

NAMES = st.sampled_from([b"x-a", b"X-B", b"Accept", b"content-type", b"X-Forwarded-For", b"x_c", b"Expect"])
VALUES = st.from_regex(rb"([!-~\x80-\xff]([\t -~\x80-\xff]{0,12}[!-~\x80-\xff])?)?", fullmatch=True)
SPACE = st.sampled_from([b"", b" ", b"\t", b"  "])
FIELDS = st.lists(st.tuples(NAMES, SPACE, VALUES), max_size=6)
HOP_BY_HOP = st.lists(
    st.sampled_from([b"Connection: x-a", b"connection: close, X-B", b"Keep-Alive: 1", b"Upgrade: h2c"]),
    max_size=2, unique=True,
)  # fmt: skip
METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
TARGETS = st.from_regex(rb"/[A-Za-z0-9_~!$&'()*+,;=:@/-]{0,12}(\?[A-Za-z0-9/?%.=&]{0,12})?", fullmatch=True)
CHUNKS = st.lists(st.tuples(st.sampled_from([b"", b";x=1"]), st.binary(min_size=1, max_size=30)), max_size=4)


@st.composite
def bodies(draw):
    """The framing field, the body on the wire, and the body."""
    kind = draw(st.sampled_from(["none", "length", "chunks"]))
    if kind == "none":
        return [], b"", b""
    if kind == "length":
        body = draw(st.binary(max_size=60))
        return [b"Content-Length: %d" % len(body)], body, body
    chunks = draw(CHUNKS)
    wire = b"".join(b"%x%b\r\n%b\r\n" % (len(data), extension, data) for extension, data in chunks)
    return [b"Transfer-Encoding: chunked"], wire + b"0\r\n\r\n", b"".join(data for _, data in chunks)


@st.composite
def requests(draw):
    """The bytes of a request, and what has to be left of it: method, target, fields, body."""
    method, target, fields, hop_by_hop = draw(METHODS), draw(TARGETS), draw(FIELDS), draw(HOP_BY_HOP)
    framing, wire, body = draw(bodies())
    lines = [b"%b:%b%b" % field for field in fields]
    lines = draw(st.permutations([b"Host: h.example:81", *framing, *hop_by_hop])) + lines
    named = {b"x-a" for line in hop_by_hop if b"x-a" in line} | {b"x-b" for line in hop_by_hop if b"X-B" in line}
    kept = [(name.lower(), value) for name, _, value in fields if name.lower() not in named]
    raw = b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), *lines]) + b"\r\n\r\n" + wire
    return raw, (method, target), kept, body


def by_name(fields):
    """The order of fields has a meaning among those of one name only (RFC 9110 §5.3)."""
    return sorted(fields, key=lambda field: field[0])


FRAMING_NAMES = {b"host", b"content-length", b"transfer-encoding"}


@given(request=requests())
def test_a_request_arrives_as_it_was_minus_hop_by_hop(read_requests, forward, request):
    raw, start, fields, body = request
    log = read_requests([raw])
    assert log.status is None, log.failures
    (message,) = log.complete
    got = forward(message)
    assert (got.start, got.body) == (start, body)
    assert by_name(field for field in got.fields if field[0] not in FRAMING_NAMES) == by_name(fields)
    assert [field for field in got.fields if field[0] == b"host"] == [(b"host", b"h.example:81")]


@given(first=requests(), second=requests(), cuts=st.lists(st.integers(1, 600), max_size=10))
def test_every_split_of_the_bytes_tells_the_same(read_requests, cut_at, first, second, cuts):
    raw = first[0] + second[0]
    whole = read_requests([raw])
    pieces = read_requests(cut_at(raw, cuts))
    singly = read_requests([raw[at : at + 1] for at in range(len(raw))])
    expected = [message.summary() for message in whole.messages]
    assert len(expected) == 2
    assert [message.summary() for message in pieces.messages] == expected
    assert [message.summary() for message in singly.messages] == expected


NOISE = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b",", b"\x0b", b"\x7f", b"\xff", b"0", b";"]
)
NOISE |= st.sampled_from(
    [b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b"\r\n ", b"\r\nHost: b", b"\r\n\r\n"]
)
NOISE |= st.binary(min_size=1, max_size=2)
MUTATIONS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), NOISE), min_size=1, max_size=3)


def mutate(raw, mutations):
    for place, width, noise in mutations:
        at = int(place * len(raw))
        raw = raw[:at] + noise + raw[at + width :]
    return raw


def read_with_h11(raw):
    """The requests that h11 finds, as method and body; it ends with the first fault."""
    connection, found = h11.Connection(h11.SERVER), []
    connection.receive_data(raw)
    connection.receive_data(b"")
    try:
        while isinstance(event := connection.next_event(), h11.Request):
            method, body = event.method, b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                break
            found.append((method, body))
            connection.send(h11.Response(status_code=204, headers=[]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except h11.ProtocolError:
        pass
    return found


@given(first=requests(), second=requests(), mutations=MUTATIONS)
def test_mutated_bytes_are_refused_or_read_as_other_parsers_read_them(read_requests, forward, first, second, mutations):
    raw = mutate(first[0] + second[0], mutations)
    log = read_requests([raw])
    singly = read_requests([raw[at : at + 1] for at in range(len(raw))])
    assert [m.summary() for m in singly.complete] == [m.summary() for m in log.complete]
    found = read_with_h11(raw)
    for index, message in enumerate(log.complete):
        got = forward(message)
        assert got.start == (message.head.method, message.head.target)
        assert got.body == message.body
        if index < len(found):
            assert (message.head.method, message.body) == found[index]


@given(raw=st.binary(max_size=300))
@example(raw=b"PRI * HTTP/2.0\r\n\r\n")
@example(raw=b"PRI  *\r\n\r\n")
def test_random_bytes_raise_nothing_and_become_nothing(read_requests, raw):
    """But for those that are no requests of HTTP/1 in a way that is known: HTTP/2's preface, a version."""
    log = read_requests([raw])
    assert log.messages == []
    assert log.status in {None, 400, 505}
    assert log.preface in (b"", raw)
