"""What secrets hold, as Secret messages: a certificate with its key, and CAs, each to who names it."""

from collections.abc import Iterator, Mapping

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from turnout.rules.snapshot import Snapshot
from turnout.rules.source import Secret
from turnout.xds.resources import SECRET, Resource, make_resource
from turnout.xds.translate.emit.values import serialize
from turnout.xds.translate.secret_names import join_cas


def make_secrets(snapshot: Snapshot, secrets: Mapping[str, Secret]) -> dict[str, Resource]:
    """Those that the Snapshot names, by the names that they have over SDS; not those that are not there."""
    found: dict[str, Resource] = {}
    for name in _certificates(snapshot):
        secret = secrets.get(name)
        if secret is not None and secret.certificate_chain_pem:
            message = secret_pb2.Secret(name=name)
            message.tls_certificate.certificate_chain.inline_bytes = secret.certificate_chain_pem
            message.tls_certificate.private_key.inline_bytes = secret.key_pem
            found[name] = make_resource(SECRET, name, serialize(message), wildcard=False)
    for names in _cas(snapshot):
        if all(name in secrets and secrets[name].ca_pem for name in names):
            message = secret_pb2.Secret(name=join_cas(names))
            pems = [secrets[name].ca_pem.rstrip() + b"\n" for name in names]
            message.validation_context.trusted_ca.inline_bytes = b"".join(pems)
            found[message.name] = make_resource(SECRET, message.name, serialize(message), wildcard=False)
    return found


def _certificates(snapshot: Snapshot) -> Iterator[str]:
    for listener in snapshot.listeners:
        if listener.tls is not None:
            for served in listener.tls.certificates:
                yield from served.secrets
    yield from (c.tls.certificate for c in snapshot.clusters if c.tls is not None and c.tls.certificate)


def _cas(snapshot: Snapshot) -> Iterator[tuple[str, ...]]:
    yield from (found.tls.client_ca for found in snapshot.listeners if found.tls is not None and found.tls.client_ca)
    yield from ((cluster.tls.ca,) for cluster in snapshot.clusters if cluster.tls is not None and cluster.tls.ca)
