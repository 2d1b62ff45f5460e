"""Transport sockets: TLS to clients and to endpoints, with the names of what it is made of."""

from collections.abc import Sequence
from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import common_pb2

from turnout.rules.snapshot import Protocol
from turnout.rules.tls import DownstreamTls, ServedCertificates, SubjectAltName, UpstreamTls
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import ALPN, DOWNSTREAM_TLS_TYPE, SYSTEM_CAS, UPSTREAM_TLS_TYPE
from turnout.xds.translate.read.identities import read_uri
from turnout.xds.translate.secret_names import split_cas
from turnout.xds.translate.walk import unpack

_MATCHER = common_pb2.SubjectAltNameMatcher
_ALPN: dict[Protocol, tuple[str, ...]] = {"http1": ALPN[1:], "h2": ALPN[:1], "auto": ALPN}


def read_downstream(message: Any, hostname: str, place: Place) -> DownstreamTls | None:
    """Of a filter chain for this hostname; None without a transport socket, or (said) with one that can't be used."""
    if not message.HasField("transport_socket"):
        return None
    place = place.at("transport_socket.typed_config")
    context = unpack(message.transport_socket.typed_config, place, DOWNSTREAM_TLS_TYPE)
    if context is None:
        return None
    common, inner = context.common_tls_context, place.at("common_tls_context")
    if tuple(common.alpn_protocols) not in ((), ALPN):
        inner.at("alpn_protocols").say(f"{', '.join(ALPN)} are supported, in this order")
    secrets = _read_references(
        common.tls_certificate_sds_secret_configs, inner.at("tls_certificate_sds_secret_configs")
    )
    if not secrets:
        inner.at("tls_certificate_sds_secret_configs").say("one is needed at least")
    for field in ("validation_context", "combined_validation_context"):
        if common.HasField(field):
            inner.at(field).say("is supported for clusters; here validation_context_sds_secret_config is")
    client_ca: tuple[str, ...] = ()
    if common.HasField("validation_context_sds_secret_config"):
        spot = inner.at("validation_context_sds_secret_config")
        client_ca = split_cas(_read_reference(common.validation_context_sds_secret_config, spot))
    required = context.require_client_certificate.value
    if required and not client_ca:
        place.at("require_client_certificate").say("needs CAs to believe")
    served = ServedCertificates(secrets, hostname)
    return DownstreamTls((served,), client_ca, required if client_ca else True)


def read_upstream(message: Any, protocol: Protocol, place: Place) -> UpstreamTls | None:
    """Of a Cluster, with which this is spoken."""
    if not message.HasField("transport_socket"):
        return None
    place = place.at("transport_socket.typed_config")
    context = unpack(message.transport_socket.typed_config, place, UPSTREAM_TLS_TYPE)
    if context is None:
        return None
    common, inner = context.common_tls_context, place.at("common_tls_context")
    if tuple(common.alpn_protocols) not in ((), _ALPN.get(protocol)):
        inner.at("alpn_protocols").say("is what the protocol of the cluster says, or is left out")
    spot = inner.at("tls_certificate_sds_secret_configs")
    shown = _read_references(common.tls_certificate_sds_secret_configs, spot)
    if len(shown) > 1:
        spot.say("one is supported")
    ca, validation, spot = _read_validation(common, inner)
    tls = UpstreamTls(context.sni, shown[0] if shown else "", ca, verify=validation is not None)
    if validation is None:
        return tls
    names = tuple(_read_names(validation, spot))
    own = (SubjectAltName("dns", context.sni),)
    return UpstreamTls(tls.server_name, tls.certificate, ca, () if names == own else names)


def _read_validation(common: Any, place: Place) -> tuple[str, Any | None, Place]:
    """The CAs (empty: the system's), and what else has to hold; None if nobody is verified."""
    match common.WhichOneof("validation_context_type"):
        case "combined_validation_context":
            told, spot = common.combined_validation_context, place.at("combined_validation_context")
            if told.default_validation_context.HasField("system_root_certs"):
                spot.at("default_validation_context.system_root_certs").say("excludes CAs of SDS")
            if told.default_validation_context.HasField("trusted_ca"):
                spot.at("default_validation_context.trusted_ca").say("excludes CAs of SDS")
            reference = told.validation_context_sds_secret_config
            return (
                _read_ca(reference, spot.at("validation_context_sds_secret_config")),
                told.default_validation_context,
                spot.at("default_validation_context"),
            )
        case "validation_context_sds_secret_config":
            spot = place.at("validation_context_sds_secret_config")
            ca = _read_ca(common.validation_context_sds_secret_config, spot)
            return ca, common_pb2.CertificateValidationContext(), spot
        case "validation_context":
            spot = place.at("validation_context")
            _check_system_cas(common.validation_context, spot)
            return "", common.validation_context, spot
    return "", None, place


def _read_ca(reference: Any, place: Place) -> str:
    name = _read_reference(reference, place)
    names = split_cas(name)
    return names[0] if len(names) == 1 else name


def _check_system_cas(validation: Any, place: Place) -> None:
    if validation.HasField("trusted_ca") and validation.trusted_ca.filename != SYSTEM_CAS:
        place.at("trusted_ca").say(f"is supported over SDS, or as the system's: {SYSTEM_CAS}")
    elif not validation.HasField("trusted_ca") and not validation.HasField("system_root_certs"):
        place.say("needs CAs: system_root_certs, or those of SDS")


def _read_names(validation: Any, place: Place) -> list[SubjectAltName]:
    found = []
    for index, told in enumerate(validation.match_typed_subject_alt_names):
        spot = place.at("match_typed_subject_alt_names", index)
        kind = told.matcher.WhichOneof("match_pattern")
        if told.matcher.ignore_case or told.san_type not in (_MATCHER.DNS, _MATCHER.URI):
            spot.say("a DNS name or a URI is supported, as it is")
        elif told.san_type == _MATCHER.DNS and kind == "exact" and told.matcher.exact:
            found.append(SubjectAltName("dns", told.matcher.exact))
        elif told.san_type == _MATCHER.URI and kind in ("exact", "prefix"):
            found.append(SubjectAltName("uri", read_uri(told.matcher, spot)))
        else:
            spot.say("an exact DNS name is supported, and a URI that is exact, or a prefix that ends in a slash")
    return found


def _read_references(references: Sequence[Any], place: Place) -> tuple[str, ...]:
    return tuple(_read_reference(reference, place) for reference in references)


def _read_reference(reference: Any, place: Place) -> str:
    if not reference.name:
        place.at("name").say("is empty")
    if reference.sds_config.WhichOneof("config_source_specifier") not in ("ads", "self"):
        place.at("sds_config").say("must be ads or self")
    return str(reference.name)
