"""The engine in C and the one through ngh2 are told the same and say the same: the same events, errors and bytes, and
the same is left to be sent.

Where they differ, and are meant to:

* A frame of control of which nobody asks what is in it is one event without content.
* Their errors are of other classes under NGH2Error, and ngh2 has ValueError for what the library calls an invalid
  argument. What is compared is whether it is a flood, another error, or none.
* `data_to_send` gives whole frames, ngh2 exactly as much as it is asked for: both are asked until there is no more.
* ngh2 refuses bytes that come behind `terminate_connection`, and more of acknowledgements than has come.
* ngh2 forgets what came of a DATA frame whose stream ends within it; the one in C gives it back to the connection's
  window.
"""

import importlib.util
import tracemalloc
from types import ModuleType
from typing import Any

import hpack
import ngh2
import pytest
from http2_engines import ACK, ANSWERS, END_HEADERS, END_STREAM, POST, REQUESTS, TRAILERS, Play, take_all
from http2_frames import FRAMES, PREFACE, make_frame
from hypothesis import example, given, settings
from hypothesis import strategies as st

from turnout.proxy.compiled import ENGINE, PACKAGE
from turnout.proxy.http2 import engine, session

pytestmark = pytest.mark.skipif(
    engine.__file__.endswith(".py"), reason="the engine in C is tested by `make test-compiled`, which builds it"
)

SIZES = st.sampled_from([0, 1, 5, 100, 16_384, 40_000])
STREAMS = st.integers(0, 3)
"""The how manieth from the last that was opened."""
CODES = st.sampled_from([0, 1, 2, 7, 8, 11])
ENDS = st.booleans()
# What the peer sends
PEERS = st.one_of(
    *[st.tuples(st.just("head"), STREAMS, st.integers(0, 8), ENDS, st.booleans())] * 3,
    st.tuples(st.just("interim"), STREAMS),
    *[st.tuples(st.just("body"), STREAMS, st.sampled_from([0, 1, 5, 5, 100, 16_384]), ENDS, st.sampled_from([0, 9]))]
    * 3,
    st.tuples(st.just("end"), STREAMS, st.integers(0, 3)),
    st.tuples(st.just("settings"), st.sampled_from([1, 3, 4, 5]), st.sampled_from([0, 1, 100, 65_535, 1 << 20])),
    st.tuples(st.just("window"), st.booleans(), STREAMS, st.sampled_from([1, 100, 100_000])),
    st.tuples(st.just("stop"), STREAMS, CODES),
    st.tuples(st.just("away"), st.sampled_from([0, 1, 3, 0x7FFF_FFFF]), CODES),
    st.tuples(st.just("ping_frame"), st.sampled_from([0, ACK])),
    st.tuples(st.just("any"), FRAMES | st.binary(max_size=30)),
)
# What we do
OURS = st.one_of(
    *[st.tuples(st.just("take"), st.sampled_from([1_000, 49_152]))] * 3,
    st.tuples(st.just("acknowledge"), STREAMS),
    st.tuples(st.just("send_request"), st.sampled_from(REQUESTS), ENDS),
    *[st.tuples(st.just("send_response"), STREAMS, st.sampled_from(ANSWERS), ENDS)] * 3,
    st.tuples(st.just("send_informational_response"), STREAMS),
    *[st.tuples(st.just("send_data"), STREAMS, SIZES, ENDS)] * 3,
    st.tuples(st.just("send_trailers"), STREAMS, st.sampled_from(TRAILERS)),
    st.tuples(st.just("reset_stream"), STREAMS, CODES),
    st.sampled_from([*[("ping",)] * 4, ("send_shutdown_notice",), ("send_goaway", 0), ("terminate_connection", 11)]),
)
STEPS = st.lists(PEERS | OURS, min_size=10, max_size=50)


@pytest.fixture(scope="module")
def engines() -> Any:
    """Both, with streams in the same order in the library's hash tables."""
    spec = importlib.util.spec_from_file_location("plain_engine", PACKAGE / f"{ENGINE}.py")
    assert spec is not None
    assert spec.loader is not None
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngh2._core, "urandom", bytes)
        patch.setattr(engine, "urandom", bytes)
        yield plain, engine


CUTS = st.lists(st.sampled_from([1, 3, 9, 17, 500, 1 << 20, 1 << 20]), min_size=1, max_size=4)


def play(engines: tuple[ModuleType, ModuleType], server: bool, cuts: list[int], steps: list[tuple[Any, ...]]) -> None:
    stage = Play(engines, server, cuts)
    for name, *arguments in steps:
        stage.do(name, *arguments)
        if stage.over:
            return
    stage.take(49_152)


WHOLE = 1 << 20
# A frame that is more than was announced, behind its first bytes; then an empty one of another stream.
LEFT_OVER = [
    ("head", 0, 1, False, False),
    ("head", 0, 0, False, False),
    ("body", 1, 99, False, 0),
    ("body", 0, 0, True, 0),
]
MALFORMED = [("head", 0, 7, True, False)]
FLOOD = [("head", 0, 8, True, True)]
SAID_SECRETLY = [("send_request", REQUESTS[2], True), ("send_response", 0, ANSWERS[2], True)]
SECRET_THEN_NOT = [("head", 0, which, True, False) for which in (2, 3, 2)]


@given(server=st.booleans(), cuts=CUTS, steps=STEPS)
@example(server=True, cuts=[12, WHOLE], steps=LEFT_OVER)
@example(server=True, cuts=[WHOLE], steps=SECRET_THEN_NOT)
@example(server=True, cuts=[WHOLE], steps=MALFORMED)
@example(server=False, cuts=[WHOLE], steps=MALFORMED)
@example(server=True, cuts=[WHOLE], steps=FLOOD)
@example(server=True, cuts=[WHOLE], steps=SAID_SECRETLY)
@example(server=False, cuts=[WHOLE], steps=SAID_SECRETLY)
def test_the_same_is_told_and_said_on_the_same_bytes_and_calls(
    engines: Any, server: bool, cuts: list[int], steps: list[tuple[Any, ...]]
) -> None:
    play(engines, server, cuts, steps)


@pytest.mark.soak
@pytest.mark.timeout(600)
@settings(max_examples=10_000)
@given(server=st.booleans(), cuts=CUTS, steps=STEPS)
def test_the_same_is_told_and_said_for_long(
    engines: Any, server: bool, cuts: list[int], steps: list[tuple[Any, ...]]
) -> None:
    play(engines, server, cuts, steps)


def start_server(*, max_fields_bytes: int) -> Any:
    server = engine.connect(
        server=True, settings={}, window_bytes=65_535, max_streams=9, max_fields_bytes=max_fields_bytes
    )
    server.receive_data(PREFACE + make_frame(4, 0, 0))
    take_all(server, 49_152)
    server.events()
    return server


def test_what_came_of_a_frame_whose_stream_ended_within_it_is_given_back() -> None:
    """Else a peer that sends frames in parts would lose the window of the connection, stream by stream."""
    server, encoder = start_server(max_fields_bytes=4_000), hpack.Encoder()
    given_back = 0
    for stream_id in range(1, 41, 2):
        frame = make_frame(0, END_STREAM, stream_id, bytes(16_384))
        server.receive_data(make_frame(1, END_HEADERS, stream_id, encoder.encode(POST)) + frame[:10_000])
        server.reset_stream(stream_id, session.Error.CANCEL)
        out = take_all(server, 49_152)
        server.receive_data(frame[10_000:])
        out += take_all(server, 49_152)
        while out:
            size = 9 + int.from_bytes(out[:3], "big")
            if out[3] == 8 and out[5:9] == bytes(4):
                given_back += int.from_bytes(out[9:13], "big")
            out = out[size:]
        assert not [event for event in server.events() if type(event) is engine.DataReceived]
    assert given_back > 20 * 16_384 - 65_535


def test_a_head_that_comes_again_is_the_same_object() -> None:
    server, encoder = start_server(max_fields_bytes=4_000), hpack.Encoder()
    for stream_id in (1, 3):
        server.receive_data(make_frame(1, END_HEADERS, stream_id, encoder.encode(POST)))
    first, second = server.events()
    assert first.headers is second.headers


@pytest.mark.parametrize("refused", [False, True], ids=["served", "refused"])
def test_a_connection_that_is_idle_holds_no_large_head(refused: bool) -> None:
    """Else who has many connections makes us hold as many heads of the largest size."""
    large = [(b"x-%d" % number, b"a" * 1_000) for number in range(50)]
    fields = [*POST, *large, *([(b"connection", b"close")] if refused else [])]
    server, block = start_server(max_fields_bytes=100_000), hpack.Encoder().encode(fields)
    pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    raw = make_frame(1, END_STREAM, 1, pieces[0]) + b"".join(make_frame(9, 0, 1, piece) for piece in pieces[1:])
    tracemalloc.start()
    try:
        server.receive_data(raw + make_frame(9, END_HEADERS, 1))
        server.reset_stream(1, session.Error.CANCEL)
        take_all(server, 49_152)
        assert [type(event).__name__ for event in server.events()] == ["RequestReceived", "StreamClosed"][refused:]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 20_000


def test_before_the_peers_settings_no_more_streams_are_opened_than_we_were_told() -> None:
    client = engine.connect(server=False, settings={}, window_bytes=65_535, max_streams=2, max_fields_bytes=4_000)
    for _ in range(3):
        client.send_request(POST, end_stream=True)
    third = make_frame(1, END_HEADERS | END_STREAM, 5)[3:]
    assert third not in take_all(client, 49_152)
    client.receive_data(make_frame(4, 0, 0))
    assert third in take_all(client, 49_152)
