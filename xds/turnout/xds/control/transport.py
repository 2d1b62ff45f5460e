"""The gRPC server that discovery runs on: its port and its certificates.

The port is bound at once, so that a taken one is told before anything starts; connections wait in it until `start`.
"""

from pathlib import Path

import grpc
from grpc import aio

from turnout.xds.control.api.guard import is_loopback
from turnout.xds.control.options import Address, TlsOptions
from turnout.xds.server.service import SERVER_OPTIONS


class TransportError(Exception):
    """The server can't be opened; the text says why."""


def open_server(address: Address, tls: TlsOptions | None) -> tuple[aio.Server, int]:
    """A server that is bound and not started, and its port. Raises TransportError."""
    server = aio.server(options=SERVER_OPTIONS)
    try:
        if tls is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), _credentials(tls))
    except RuntimeError as error:
        doubt = f", or are {tls.cert} and {tls.key} no certificate and its key" if tls else ""
        raise TransportError(f"{address} can't be bound for xDS; is it taken{doubt}?") from error
    return server, port


def may_tell_keys(address: Address, tls: TlsOptions | None) -> bool:
    """Whether only those get what is served that should: who shows a certificate, or who is on this machine."""
    return (tls is not None and tls.client_ca is not None) or is_loopback(address.host)


def _credentials(tls: TlsOptions) -> grpc.ServerCredentials:
    pair = (_read(tls.key), _read(tls.cert))
    roots = _read(tls.client_ca) if tls.client_ca else None
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TransportError(f"{path} can't be read: {error.strerror}") from error
