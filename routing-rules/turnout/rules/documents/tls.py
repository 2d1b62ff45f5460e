"""TLS in documents: that of a Gateway's listeners (gateway-api, apis/v1/gateway_types.go), that of a Predictor, and
`Certificate`, which says in what files a certificate is. Keys are never in a document."""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from turnout.rules.documents.base import ObjectName, Port, Resource, Strict

IDENTITIES_OPTION = "turnout.dev/allowed-identities"
CLIENT_CERTIFICATES_OPTION = "turnout.dev/client-certificates"

IdentityPattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2048,
        description="A URI in the client's certificate, or what it begins with: spiffe://cluster.local/ns/models/*",
    ),
]


class CertificateRef(Strict, frozen=True, kw_only=True):
    """A certificate with its key. `Secret` is the standard's word; what it names here is a Certificate."""

    group: Literal["", "turnout.dev"] = ""
    kind: Literal["Secret", "Certificate"] = "Secret"
    name: ObjectName
    namespace: ObjectName | None = None


class CaCertificateRef(Strict, frozen=True, kw_only=True):
    """CAs to believe. `ConfigMap` is the standard's word; what it names here is a Certificate."""

    group: Literal["", "turnout.dev"] = ""
    kind: Literal["ConfigMap", "Secret", "Certificate"] = "ConfigMap"
    name: ObjectName
    namespace: ObjectName | None = None


class ListenerTls(Strict, frozen=True, kw_only=True):
    """How a listener ends TLS (ListenerTLSConfig)."""

    later: ClassVar = frozenset({"frontendValidation"})
    later_values: ClassVar = {"mode": frozenset({"Passthrough"})}

    mode: Literal["Terminate"] = "Terminate"
    certificate_refs: Annotated[tuple[CertificateRef, ...], Meta(min_length=1)]
    options: Annotated[
        dict[str, str],
        Meta(description=f"{IDENTITIES_OPTION}: who may ask, by commas; {CLIENT_CERTIFICATES_OPTION}: optional."),
    ] = msgspec.field(default_factory=dict)


class FrontendValidation(Strict, frozen=True, kw_only=True):
    """Clients have to show a certificate (FrontendTLSValidation)."""

    later_values: ClassVar = {"mode": frozenset({"AllowInsecureFallback"})}

    ca_certificate_refs: Annotated[tuple[CaCertificateRef, ...], Meta(min_length=1)]
    mode: Literal["AllowValidOnly"] = "AllowValidOnly"


class FrontendTlsConfig(Strict, frozen=True, kw_only=True):
    """What is asked of clients (TLSConfig)."""

    validation: FrontendValidation | None = None


class FrontendTlsPort(Strict, frozen=True, kw_only=True):
    """The same for one port (TLSPortConfig)."""

    port: Port
    tls: FrontendTlsConfig


class FrontendTls(Strict, frozen=True, kw_only=True):
    """Of all HTTPS listeners, and of those on a port, in its place (FrontendTLSConfig)."""

    default: FrontendTlsConfig
    per_port: tuple[FrontendTlsPort, ...] = ()


class GatewayTls(Strict, frozen=True, kw_only=True):
    """TLS of a whole Gateway (GatewayTLSConfig)."""

    later: ClassVar = frozenset({"backend"})

    frontend: FrontendTls | None = None


class LocalCertificateRef(Strict, frozen=True, kw_only=True):
    """A Certificate of the same namespace."""

    name: ObjectName


class PredictorTls(Strict, frozen=True, kw_only=True):
    """TLS to the endpoints. They are verified, unless that is switched off."""

    server_name: Annotated[
        Annotated[str, Meta(min_length=1, max_length=253)] | None,
        Meta(
            description="Sent (SNI), and to be in the endpoint's certificate; default: the one DNS name of endpoints.",
        ),
    ] = None
    certificate: Annotated[LocalCertificateRef | None, Meta(description="What endpoints see of us.")] = None
    ca_certificate: Annotated[
        LocalCertificateRef | None, Meta(description="CAs that are believed; default: the system's.")
    ] = None
    subject_alt_names: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=2048)], ...],
        Meta(description="DNS names and URIs; one has to be in the endpoint's certificate, in place of serverName."),
    ] = ()
    insecure_skip_verify: Annotated[bool, Meta(description="true: anybody is believed to be the endpoint.")] = False


class CertificateSpec(Strict, frozen=True, kw_only=True):
    """PEM files; a path is absolute, or relative to the rule file's folder. They are read again when they change."""

    certificate_file: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="The certificate, then those up to its CA."),
    ] = None
    key_file: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="Its key, without a passphrase.")
    ] = None
    ca_file: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="CAs, for those that name this as a CA.")
    ] = None


class Certificate(Resource, frozen=True, kw_only=True):
    """Where a certificate and its key are, or a CA."""

    api_version: Literal["turnout.dev/v1alpha1"]
    kind: Literal["Certificate"]
    spec: CertificateSpec
