"""Where Snapshots come from: the one interface between a configuration and a data plane.

A Source is an async iterator of updates. It says what it has at once, then again at each change; an update
that could not be used is told too, so that the data plane can show why it still serves the old one.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from turnout.rules.diagnostics import Diagnostic
from turnout.rules.snapshot import Origins, Snapshot


class SecretFiles(msgspec.Struct, frozen=True):
    """The PEM files of a secret that a Snapshot names. Empty: it has no such part."""

    name: str
    certificate_file: str = ""
    key_file: str = ""
    ca_file: str = ""


class Secret(msgspec.Struct, frozen=True):
    """What a name stands for, in PEM: a certificate with those up to its CA, its key, and CAs to believe; each part
    empty if it has none. It is shown to nobody: its text is its name."""

    name: str
    certificate_chain_pem: bytes = b""
    key_pem: bytes = b""
    ca_pem: bytes = b""

    def __repr__(self) -> str:
        return f"<Secret {self.name}>"


class SecretFault(msgspec.Struct, frozen=True):
    """Why a secret can't be had now. `message` names its place."""

    name: str
    message: str


class SecretSource(Protocol):
    """Something that yields secrets: files, or a control plane (SDS)."""

    def updates(self) -> AsyncIterator[Secret | SecretFault]:
        """Each secret that is asked for, at once and at each change, for ever. One consumer."""
        ...


class Loaded(msgspec.Struct, frozen=True):
    """A Snapshot that was checked, where its parts were written, what the lint has to say, and where its secrets are,
    as far as they are files; `told_secrets` came along (SDS)."""

    snapshot: Snapshot
    origins: Origins
    warnings: tuple[Diagnostic, ...] = ()
    secrets: tuple[SecretFiles, ...] = ()
    told_secrets: tuple[Secret, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """A change that can't be used, and why; nothing of it is applied."""

    errors: tuple[Diagnostic, ...]


Update = Loaded | Rejected


class Discovery(msgspec.Struct, frozen=True):
    """How it goes with a control plane.

    `acks` and `nacks` count responses that were taken and that were refused, by type (`RDS`); `updated_at` is when one
    was last taken, in seconds since the epoch, 0 for never.
    """

    connected: bool
    acks: dict[str, int]
    nacks: dict[str, int]
    updated_at: float


class Source(Protocol):
    """Something that yields updates: files, or a control plane."""

    def updates(self) -> AsyncIterator[Update]:
        """The present state first, then one item a change, for ever. One consumer."""
        ...

    def reload(self) -> None:
        """Look again now and yield what is found even if it is unchanged (SIGHUP)."""
        ...

    def on_served(self, loaded: Loaded) -> None:
        """The data plane serves this now; it is not told of what it could not serve."""
        ...

    def dump(self) -> object | None:
        """What the source itself knows, for the admin's `/config_dump`: plain JSON data, None for nothing.

        A control plane's client tells its connection, and each resource with version and state.
        """
        ...

    def discovery(self) -> Discovery | None:
        """The numbers of a control plane's client, for the admin's `/metrics`; None for any other source."""
        ...
