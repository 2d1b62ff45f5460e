"""libnghttp2, as `session` drives it: through `ngh2`, which only this module knows.

`engine.pyx` beside it is the same in C, for who has a compiler (`make compiled`): it calls the library that is in ngh2
without ngh2's own layer, whose objects cost more than the library itself. The same tests run over both.
"""

from collections.abc import Mapping
from typing import Final

from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    DataReceived,
    DenialOfServiceError,
    GoAwayReceived,
    InformationalResponseReceived,
    NeverIndexedHeader,
    NGH2Error,
    PingAcknowledged,
    RequestReceived,
    ResponseReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
    StreamReset,
    TrailersReceived,
)

__all__ = [
    "ConnectionClosed", "DataReceived", "DenialOfServiceError", "GoAwayReceived", "InformationalResponseReceived",
    "NGH2Error", "NeverIndexedHeader", "PingAcknowledged", "RequestReceived", "ResponseReceived", "Setting",
    "SettingsReceived", "StreamClosed", "StreamReset", "TrailersReceived", "connect",
]  # fmt: skip

RESETS: Final = 100_000
"""Resets a second that the library bears: our own bound is met first, and says ENHANCE_YOUR_CALM."""


def connect(
    *, server: bool, settings: Mapping[int, int], window_bytes: int, max_streams: int, max_fields_bytes: int
) -> Connection:
    """A connection that has its preface and our SETTINGS to send.

    `window_bytes` is the window of all its streams; `max_streams` what we may open until the peer says how many;
    `max_fields_bytes` bounds the fields of a message, each with 32 bytes more than it has (RFC 9113 §6.5.2): a peer
    that sends more is no longer read (`DenialOfServiceError`). Received bytes are counted until they are acknowledged.
    """
    connection = Connection(
        Role.SERVER if server else Role.CLIENT,
        Configuration(
            auto_window_update=False,
            peer_max_concurrent_streams=max_streams,
            max_inbound_header_list_size=max_fields_bytes,
            stream_reset_rate_limit=(RESETS, RESETS),
        ),
    )
    connection.initiate_connection(settings)
    connection.set_local_window_size(window_bytes)
    return connection
