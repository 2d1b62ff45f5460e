"""What the command line tells an xDS client. Frozen, passed in, never imported; no gRPC here."""

from typing import Literal

import msgspec

Variant = Literal["delta", "sotw"]


class XdsOptions(msgspec.Struct, frozen=True):
    """Where the control plane is, and who asks.

    `address` is HOST:PORT. With `ca` (a file of PEM certificates) the connection is TLS; `cert` and `key`, also PEM,
    say who we are, and need each other and `ca`. `cache` is the file for the last good Snapshot, None for no file.
    """

    address: str
    node_id: str
    metadata: dict[str, str] = {}
    variant: Variant = "delta"
    cache: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    max_message_bytes: int = 64 * 1024 * 1024
    """A response above this ends the stream: 100,000 routes take about 30 MB."""
