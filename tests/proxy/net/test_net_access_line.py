"""Whatever a client or a rule puts into an access line, it stays one line, and reads as what was put in."""

import json
import re
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.errors import NO_ENDPOINT
from turnout.proxy.exchange.state import ExchangeState
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.net.access_log import AccessLog
from turnout.proxy.net.log_file import LogFile
from turnout.proxy.telemetry.access_log import FIELDS

pytestmark = pytest.mark.stand_in

WIRE = st.binary(max_size=40) | st.lists(
    st.sampled_from([b'"', b"\\", b"\n", b"\r", b"\x00", b"\x7f", b"%s", b"%(time)b", b"\xe2\x80\xa8", b"a"]),
    max_size=8,
).map(b"".join)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


class FakeLogFile:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def flush(self) -> None:
        raise AssertionError("a single line fills no block")


def log(path: bytes, query: bytes, request_id: bytes, reason: str, route: str, cluster: str, *, as_json: bool) -> bytes:
    """The line of a failed exchange with these."""
    head = RequestHead([])
    head.method, head.host, head.path, head.query, head.request_id = b"GET", "h", path, query, request_id
    exchange = SimpleNamespace(
        head=head, target=b"", reason=reason, failure=NO_ENDPOINT, status=503, lease=None,
        entry=SimpleNamespace(name=route), share=SimpleNamespace(cluster=cluster),
        started_at=1.0, first_byte_at=0.0, upstream_s=0.0, bytes_received=0, bytes_sent=0, attempts=2, flag=0,
        grpc_status=-1,
    )  # fmt: skip
    file = FakeLogFile()
    access_log = AccessLog(cast(LogFile, file), json=as_json, wall=lambda: 1_700_000_000.0)
    access_log.log(cast(ExchangeState, exchange), Peer(b"127.0.0.1", trusted=True), 1.5)
    return bytes(file.buffer)


@given(path=WIRE, query=WIRE, request_id=WIRE, reason=NAMES, route=NAMES, cluster=NAMES)
def test_a_json_line_says_what_was_put_in(
    path: bytes, query: bytes, request_id: bytes, reason: str, route: str, cluster: str
) -> None:
    line = log(path, query, request_id, reason, route, cluster, as_json=True)
    assert line.count(b"\n") == 1
    assert line.isascii()
    record = json.loads(line, object_pairs_hook=list)
    assert [name for name, _ in record] == list(FIELDS)
    said = dict(record)
    assert said["path"].encode("latin-1") == path + b"?" + query
    assert said["request_id"].encode("latin-1") == request_id
    assert (said["route"], said["predictor"]) == (route, cluster)


@given(path=WIRE, query=WIRE, request_id=WIRE, reason=NAMES, route=NAMES, cluster=NAMES)
def test_a_text_line_is_the_same_outside_of_its_strings(
    path: bytes, query: bytes, request_id: bytes, reason: str, route: str, cluster: str
) -> None:
    line = log(path, query, request_id, reason, route, cluster, as_json=False)
    plain = log(b"/", b"", b"id", "why", "route", "cluster", as_json=False)
    assert line.isascii()
    assert STRING.sub(b"", line) == STRING.sub(b"", plain)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_that_needs_no_escape_is_as_it_is(as_json: bool) -> None:
    line = log(b"/v2/models/iris", b"a=%22", b"0af7-65", "no endpoint", "default/iris", "m", as_json=as_json)
    assert all(value in line for value in (b"/v2/models/iris?a=%22", b'"0af7-65"', b'"default/iris"'))
