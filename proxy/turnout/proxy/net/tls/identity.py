"""Who a client is, by the certificate that it has shown: the URI in it, a SPIFFE id in a mesh.

A certificate with several URIs is no SPIFFE certificate (X509-SVID §2), and whose it is would be anybody's choice: such
a client is nobody. What upstreams are told has Envoy's form (`x-forwarded-client-cert`), in which what could end a
value is percent-encoded.
"""

import ssl
from hashlib import sha256
from urllib.parse import quote

from turnout.proxy.net.tls.contexts import TlsContext
from turnout.proxy.net.tls.upstream import alt_names

_PLAIN = "!#$%&'()*+-./:<>?@[]^_`{|}~"
"""What of ASCII stays as it is, beside letters and digits: not space, quote, comma, semicolon, equals, backslash."""


def read_identity(connection: ssl.SSLObject) -> tuple[str, bytes]:
    """The identity, empty for none, and the value of `x-forwarded-client-cert`, empty without a certificate."""
    der = connection.getpeercert(binary_form=True)
    if not der:
        return "", b""
    uris = alt_names(connection.getpeercert() or {}, "URI")
    identity = uris[0] if len(uris) == 1 and uris[0].isprintable() and uris[0].isascii() else ""
    context = connection.context
    parts = [f"By={_encode(context.uri)}"] if isinstance(context, TlsContext) and context.uri else []
    parts.append(f"Hash={sha256(der).hexdigest()}")
    parts += [f"URI={_encode(uri)}" for uri in uris]
    return identity, ";".join(parts).encode()


def _encode(uri: str) -> str:
    return quote(uri, safe=_PLAIN)
