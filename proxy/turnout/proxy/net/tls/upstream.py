"""What a cluster's endpoints see of us, and how they are verified."""

import ssl
from collections.abc import Mapping

from turnout.proxy.net.tls.contexts import make_client_context
from turnout.proxy.net.tls.failures import WrongNameError
from turnout.proxy.net.tls.server_names import has_name
from turnout.rules.identities import Identities
from turnout.rules.snapshot import Protocol
from turnout.rules.source import Secret
from turnout.rules.tls import UpstreamTls


class UpstreamContext:
    """TLS to the endpoints of one cluster. `server_name` is what a handshake is made with, empty for none."""

    __slots__ = ("_dns_names", "_identities", "context", "server_name")

    def __init__(self, config: UpstreamTls, secrets: Mapping[str, Secret], protocol: Protocol) -> None:
        """Raises KeyError for a secret that is not there, ssl.SSLError or ValueError for one that can't be used."""
        certificate = secrets[config.certificate] if config.certificate else None
        ca = secrets[config.ca] if config.ca else None
        names = config.subject_alt_names if config.verify else ()
        self.context = make_client_context(
            certificate, ca, protocol, verify=config.verify, check_hostname=not names and bool(config.server_name)
        )
        self.server_name = config.server_name
        self._dns_names = tuple(name.value for name in names if name.kind == "dns")
        self._identities = Identities(name.value for name in names if name.kind == "uri")
        if names:
            self.context.check_peer = self._check_peer

    def _check_peer(self, connection: ssl.SSLObject) -> None:
        """Raise WrongNameError unless one of the names that an endpoint's certificate may have is there.

        Where no names are given OpenSSL has checked the server name in the handshake.
        """
        certificate = connection.getpeercert() or {}
        dns_names, uris = alt_names(certificate, "DNS"), alt_names(certificate, "URI")
        if any(has_name(dns_names, name) for name in self._dns_names):
            return
        if any(self._identities.takes(uri) for uri in uris):
            return
        shown = ", ".join([*dns_names, *uris]) or "no name"
        raise WrongNameError(f"certificate refused: it is that of {shown}")


def alt_names(certificate: Mapping[str, object], kind: str) -> list[str]:
    """The subject alternative names of one kind (`DNS`, `URI`) in what `getpeercert` gives."""
    names = certificate.get("subjectAltName", ())
    assert isinstance(names, tuple)
    return [value for found, value in names if found == kind]
