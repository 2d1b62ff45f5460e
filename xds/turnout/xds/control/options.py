"""What the command line tells a control plane. Frozen, passed in, never imported."""

from typing import NamedTuple

import msgspec

from turnout.xds.control.debounce import MAX_S, QUIET_S


class Address(NamedTuple):
    """A host (IP literal or name) and a TCP port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TlsOptions(msgspec.Struct, frozen=True):
    """Files of PEM for the gRPC server. With `client_ca` each proxy must show a certificate that it has signed."""

    cert: str
    key: str
    client_ca: str | None = None


class ControlOptions(msgspec.Struct, frozen=True):
    """All of `turnout control`. `rules` empty: there are no files, and the API owns everything.

    `token` is asked of everyone who uses the API; it must be there if the API is bound to more than loopback.
    """

    rules: tuple[str, ...] = ()
    xds: Address = Address("127.0.0.1", 18000)
    api: Address = Address("127.0.0.1", 18001)
    state: str = ".turnout/state.db"
    token: str | None = msgspec.field(default=None)
    tls: TlsOptions | None = None
    quiet_s: float = QUIET_S
    max_wait_s: float = MAX_S
    drain_s: float = 1.0
    """How long streams may still run after a signal to end."""
