"""A record of an exchange that went well, and changes of it."""

from typing import Any

import msgspec

from turnout.proxy.telemetry.trace.record import Attempt, Record

T, S, P, C = b"5759e988bd862e3fe1be46a994272793", b"53995c3f42cd8ad8", b"00f067aa0ba902b7", b"b7ad6b7169203331"
ATTEMPT = Attempt(C, 1.25, 2.0, "default/v1", "http", "10.0.0.7", 8001, 200, "", False, [("first_byte", 1.5)])
PLAIN = Record(
    T, S, P, 1, b"foo=1", False, 1.0, 2.0, 1.5, b"POST", b"http", "iris.test", b"/v2/models/iris/infer", b"a=1&sig=s3",
    b"/v2/models/iris/infer", 1, False, 200, -1, "-", False, "", "default/iris/split", "default/v1", 0, 0.75, 100, 20,
    b"abc", b"curl/8", b"", b"", b"192.0.2.1", "", "f518c9d7a221de32", False, [("queued", 1.1)], [ATTEMPT],
)  # fmt: skip


def change(record: Record = PLAIN, **fields: Any) -> Record:
    return msgspec.structs.replace(record, **fields)
