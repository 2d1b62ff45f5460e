"""The parts of a Snapshot that say how TLS is spoken, to clients and to endpoints.

A certificate, a key or a CA is a *secret*, and stands here by its name only: what it holds comes to a data plane by
another way (`supervisor.secrets`), is never in a Snapshot, and may change without a new one.
"""

from collections.abc import Iterator
from typing import Literal

from turnout.rules.resilience import Part

ANY_NAME = "*"


class ServedCertificates(Part, frozen=True):
    """The certificates for server names that `hostname` takes: `a.example`, `*.example`, or `*` for all.

    The most specific hostname is asked, and there the certificate whose own names fit best; the first, if none does.
    """

    secrets: tuple[str, ...]
    hostname: str = ANY_NAME


class DownstreamTls(Part, frozen=True):
    """TLS towards clients (Envoy `DownstreamTlsContext`). `certificates` are sorted by hostname.

    With `client_ca`, the secrets whose CAs are believed, clients are asked for a certificate, and refused without one
    that is good unless not even one is required (`require_client_certificate`). That holds for all hostnames alike: a
    client that may speak to one of them on a connection may speak to all.
    """

    certificates: tuple[ServedCertificates, ...]
    client_ca: tuple[str, ...] = ()
    require_client_certificate: bool = True

    def secrets(self) -> Iterator[str]:
        """The names of all that are needed."""
        for served in self.certificates:
            yield from served.secrets
        yield from self.client_ca


class SubjectAltName(Part, frozen=True):
    """A name that an endpoint's certificate may have: a DNS name, or a URI (a pattern of `turnout.rules.identities`).

    A DNS name in a certificate may begin with `*.`, which stands for one label (RFC 6125 §6.4.3).
    """

    kind: Literal["dns", "uri"]
    value: str


class UpstreamTls(Part, frozen=True):
    """TLS towards endpoints (Envoy `UpstreamTlsContext`).

    `server_name` is sent (SNI) and has to be in the endpoint's certificate; where `subject_alt_names` are given one of
    them has to be there instead (Envoy's `match_typed_subject_alt_names`). `ca` is the secret whose CAs are believed;
    empty: the system's. `certificate` is what endpoints see of us; empty: nothing. `verify` false believes anybody.
    """

    server_name: str = ""
    certificate: str = ""
    ca: str = ""
    subject_alt_names: tuple[SubjectAltName, ...] = ()
    verify: bool = True
