"""What a TLS listener shows: one context for each certificate, picked by the server name in the handshake.

Contexts are made anew when a secret changes and swapped as a whole: a handshake that has begun, and a connection that
stands, keep those that they have. All contexts of a listener ask the same of clients, since OpenSSL takes the verify
mode of the first one and not of the one that was picked.
"""

import ssl
from collections.abc import Mapping

from turnout.proxy.net.tls.contexts import TlsContext, make_server_context
from turnout.proxy.net.tls.server_names import Served, ServerNames
from turnout.proxy.net.tls.x509 import Facts, read_certificate, split_pem
from turnout.rules.source import Secret
from turnout.rules.tls import DownstreamTls


def make_listener_context(config: DownstreamTls, secrets: Mapping[str, Secret]) -> ssl.SSLContext:
    """The context that a listener begins handshakes with.

    Raises KeyError for a secret that is not there, and ssl.SSLError or ValueError for one that can't be used.
    """
    client_cas = [secrets[name] for name in config.client_ca]
    made: dict[str, Served[TlsContext]] = {}
    for name in {name for served in config.certificates for name in served.secrets}:
        context = make_server_context(secrets[name], client_cas, config.require_client_certificate)
        facts = read_leaf(secrets[name])
        context.uri = next(iter(facts.uris), "")
        made[name] = Served(facts.dns_names, context)
    names = ServerNames({served.hostname: [made[name] for name in served.secrets] for served in config.certificates})
    first = names.default
    first.sni_callback = _Picker(names)
    return first


def read_leaf(secret: Secret) -> Facts:
    """What is known of a secret's own certificate. Raises ValueError if there is none."""
    certificates = split_pem(secret.certificate_chain_pem)
    if not certificates:
        raise ValueError("there is no certificate in it")
    return read_certificate(certificates[0])


class _Picker:
    """The callback of a handshake: sets the context for the name, or gives the alert to refuse it with."""

    __slots__ = ("_names",)

    def __init__(self, names: ServerNames[TlsContext]) -> None:
        self._names = names

    def __call__(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        if not name:
            return None
        found = self._names.find(name)
        if found is None:
            return int(ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        if found is not context:
            connection.context = found
        return None
