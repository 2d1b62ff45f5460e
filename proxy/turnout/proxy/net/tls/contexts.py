"""SSLContexts of secrets. What holds for all: TLS 1.2 and 1.3, the ciphers of Mozilla's "intermediate" list (5.7), no
compression and no renegotiation.

A key goes from memory to OpenSSL by a memory file, since `load_cert_chain` takes paths only: it is on no disk.
"""

import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from turnout.rules.snapshot import Protocol
from turnout.rules.source import Secret

CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    )
)  # fmt: skip
"""Of TLS 1.2; those of 1.3 are all good. Without finite-field DHE, which costs ten times as much."""
HTTP2 = "h2"
DOWNSTREAM_ALPN = (HTTP2, "http/1.1")
"""What listeners offer, the best first (RFC 7301)."""
UPSTREAM_ALPN: dict[Protocol, tuple[str, ...]] = {
    "http1": ("http/1.1",),
    "h2c": (HTTP2,),
    "h2": (HTTP2,),
    "auto": (HTTP2, "http/1.1"),
}
"""What is offered to endpoints, by the protocol of their cluster."""
TICKETS = 1
"""Of a TLS 1.3 handshake; OpenSSL's default of two is for browsers, which open several connections at once. A ticket is
good at the worker that gave it, and until its listener's certificates or CAs change."""


class TlsObject(ssl.SSLObject):
    """Keeps the alert that a failed handshake ends with: the loop's transport drops it, and the other side would never
    learn why. It is the `alert` of the error. What OpenSSL does not check is checked as a part of the handshake."""

    outgoing: ssl.MemoryBIO

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            raise
        except ssl.SSLError as error:
            error.alert = self.outgoing.read()  # type: ignore[attr-defined]
            raise
        context = self.context
        if isinstance(context, TlsContext) and context.check_peer is not None:
            context.check_peer(self)


class TlsContext(ssl.SSLContext):
    """With what is asked of the context that a connection ended up with: `uri` is the URI in our own certificate;
    `check_peer` raises ssl.SSLError for a peer that is not the right one."""

    sslobject_class = TlsObject
    uri = ""
    check_peer: Callable[[ssl.SSLObject], None] | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(made, TlsObject):
            made.outgoing = outgoing
        return made


def make_server_context(secret: Secret, client_cas: Sequence[Secret], required: bool) -> TlsContext:
    """What a listener shows and asks. Raises ssl.SSLError, or ValueError for a key with a passphrase."""
    context = TlsContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # the client knows whether it has hardware for AES
    context.num_tickets = TICKETS
    context.set_alpn_protocols(DOWNSTREAM_ALPN)
    load_certificate(context, secret)
    if client_cas:
        load_cas(context, client_cas)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def make_client_context(
    certificate: Secret | None, ca: Secret | None, protocol: Protocol, *, verify: bool, check_hostname: bool
) -> TlsContext:
    """What is shown to endpoints, and whom to believe; without a `ca`, whom the system believes.

    Raises ssl.SSLError, or ValueError for a key with a passphrase.
    """
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = verify and check_hostname
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
    else:
        load_cas(context, (ca,))
    if certificate is not None:
        load_certificate(context, certificate)
    context.set_alpn_protocols(UPSTREAM_ALPN[protocol])
    return context


def load_certificate(context: ssl.SSLContext, secret: Secret) -> None:
    """Load a certificate with its chain and its key. Raises ssl.SSLError and ValueError."""
    with ExitStack() as files:
        chain, key = (files.enter_context(_memory_file(pem)) for pem in (secret.certificate_chain_pem, secret.key_pem))
        context.load_cert_chain(chain, key, _refuse_passphrase)


def load_cas(context: ssl.SSLContext, secrets: Iterable[Secret]) -> None:
    """Believe these CAs. Raises ssl.SSLError."""
    for secret in secrets:
        context.load_verify_locations(cadata=secret.ca_pem.decode("ascii", "replace"))


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)


def _refuse_passphrase() -> str:
    raise ValueError("the key has a passphrase")


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    fd = os.memfd_create("secret", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
