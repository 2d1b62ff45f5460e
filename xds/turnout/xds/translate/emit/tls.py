"""TLS to clients and to endpoints as transport sockets. What a secret holds comes by SDS, on the same stream."""

from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2

from turnout.rules.tls import DownstreamTls, ServedCertificates, SubjectAltName, UpstreamTls
from turnout.xds.translate.emit.values import make_ads, pack
from turnout.xds.translate.names import ALPN, SYSTEM_CAS, TLS_SOCKET
from turnout.xds.translate.secret_names import join_cas

_MATCHER = common_pb2.SubjectAltNameMatcher


def make_inspector() -> Any:
    """What reads the server name before a filter chain is chosen."""
    message = listener_components_pb2.ListenerFilter(name="envoy.filters.listener.tls_inspector")
    pack(message.typed_config, tls_inspector_pb2.TlsInspector())
    return message


def make_downstream_socket(tls: DownstreamTls, served: ServedCertificates) -> Any:
    """The transport socket of the filter chain for these certificates."""
    context = tls_pb2.DownstreamTlsContext()
    common = context.common_tls_context
    common.alpn_protocols.extend(ALPN)
    common.tls_certificate_sds_secret_configs.extend(map(_make_reference, served.secrets))
    if tls.client_ca:
        common.validation_context_sds_secret_config.CopyFrom(_make_reference(join_cas(tls.client_ca)))
        context.require_client_certificate.value = tls.require_client_certificate
    return _make_socket(context)


def make_upstream_socket(tls: UpstreamTls) -> Any:
    """The transport socket of a cluster."""
    context = tls_pb2.UpstreamTlsContext(sni=tls.server_name)
    common = context.common_tls_context
    if tls.certificate:
        common.tls_certificate_sds_secret_configs.append(_make_reference(tls.certificate))
    if not tls.verify:
        return _make_socket(context)
    names = tls.subject_alt_names or ((SubjectAltName("dns", tls.server_name),) if tls.server_name else ())
    validation = common_pb2.CertificateValidationContext(match_typed_subject_alt_names=map(_make_matcher, names))
    if tls.ca:
        common.combined_validation_context.default_validation_context.CopyFrom(validation)
        reference = _make_reference(join_cas([tls.ca]))
        common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(reference)
    else:
        validation.trusted_ca.filename = SYSTEM_CAS
        common.validation_context.CopyFrom(validation)
    return _make_socket(context)


def _make_socket(context: Any) -> Any:
    message = base_pb2.TransportSocket(name=TLS_SOCKET)
    pack(message.typed_config, context)
    return message


def _make_reference(name: str) -> Any:
    return secret_pb2.SdsSecretConfig(name=name, sds_config=make_ads())


def _make_matcher(name: SubjectAltName) -> Any:
    message = _MATCHER(san_type=_MATCHER.DNS if name.kind == "dns" else _MATCHER.URI)
    if name.kind == "uri" and name.value.endswith("/*"):
        message.matcher.prefix = name.value[:-1]
    else:
        message.matcher.exact = name.value
    return message
