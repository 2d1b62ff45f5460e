"""Secret messages: a certificate with its key, or CAs, both inside of them. Faults tell nothing of what they hold."""

from collections.abc import Iterable
from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from msgspec.structs import replace

from turnout.rules.source import Secret
from turnout.xds.resources import Resource
from turnout.xds.translate.faults import Place
from turnout.xds.translate.secret_names import split_cas


def check_secret(message: Any, place: Place) -> None:
    """Say why it can't be used, as far as that can be told without its use."""
    match message.WhichOneof("type"):
        case "tls_certificate":
            _check_source(message.tls_certificate, "certificate_chain", place.at("tls_certificate"))
            _check_source(message.tls_certificate, "private_key", place.at("tls_certificate"))
        case "validation_context":
            spot = place.at("validation_context")
            _check_source(message.validation_context, "trusted_ca", spot)
            for field in ("match_typed_subject_alt_names", "system_root_certs"):
                if field in {found.name for found, _ in message.validation_context.ListFields()}:
                    spot.at(field).say("is supported in the context that names the secret")
        case None:
            place.say("one of tls_certificate and validation_context is needed")


def read_secrets(resources: Iterable[Resource]) -> tuple[Secret, ...]:
    """What those that were accepted hold, by our names, sorted."""
    found: dict[str, Secret] = {}
    for resource in resources:
        message = secret_pb2.Secret.FromString(resource.body)
        if message.HasField("tls_certificate"):
            told = message.tls_certificate
            before = found.get(message.name, Secret(message.name))
            chain, key = _content(told.certificate_chain), _content(told.private_key)
            found[message.name] = replace(before, certificate_chain_pem=chain, key_pem=key)
            continue
        for name in split_cas(message.name):
            before = found.get(name, Secret(name))
            ca_pem = before.ca_pem + _content(message.validation_context.trusted_ca)
            found[name] = replace(before, ca_pem=ca_pem)
    return tuple(found[name] for name in sorted(found))


def _check_source(message: Any, field: str, place: Place) -> None:
    if not _content(getattr(message, field)):
        place.at(field).say("is needed, as inline_bytes or inline_string")


def _content(source: Any) -> bytes:
    content: bytes = source.inline_bytes or source.inline_string.encode()
    return content
