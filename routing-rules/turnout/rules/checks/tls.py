"""Checks of what documents say of TLS, beyond types. Whether a Certificate is there is told by the compiler."""

from collections.abc import Sequence

from turnout.rules.checks.common import check_unique
from turnout.rules.checks.syntax import hostname_fault, is_ip
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.gateway import Gateway, GatewayListener
from turnout.rules.documents.predictor import PredictorEndpoint
from turnout.rules.documents.tls import (
    CLIENT_CERTIFICATES_OPTION,
    IDENTITIES_OPTION,
    CaCertificateRef,
    Certificate,
    CertificateRef,
    FrontendTls,
    FrontendValidation,
    ListenerTls,
    PredictorTls,
)
from turnout.rules.identities import identity_fault


def check_certificate(say: Reporter, certificate: Certificate) -> None:
    spec = certificate.spec
    if (spec.certificate_file is None) != (spec.key_file is None):
        say.error(("spec",), "missing-field", "certificateFile and keyFile go together")
    elif spec.certificate_file is None and spec.ca_file is None:
        say.error(("spec",), "missing-field", "certificateFile and keyFile are needed, or caFile")
    for name in ("certificateFile", "keyFile", "caFile"):
        text = say.document.raw["spec"].get(name)
        if isinstance(text, str) and "\x00" in text:
            say.error(("spec", name), "invalid-value", "a path has no NUL")


def check_identities(say: Reporter, path: Path, patterns: Sequence[str]) -> None:
    """Patterns of identities, in a list."""
    for index, pattern in enumerate(patterns):
        if fault := identity_fault(pattern):
            say.error((*path, index), "invalid-identity", fault)
    check_unique(say, path, patterns, "identity", field=None)


def check_gateway_tls(say: Reporter, gateway: Gateway) -> None:
    """Of all listeners, and what is asked of clients."""
    frontend = None if gateway.spec.tls is None else gateway.spec.tls.frontend
    ports = {listener.port for listener in gateway.spec.listeners if listener.protocol == "HTTPS"}
    if frontend is not None:
        _check_frontend(say, frontend, ports)
    for index, listener in enumerate(gateway.spec.listeners):
        _check_listener(say, ("spec", "listeners", index), listener, find_validation(gateway, listener.port)[0])


def find_validation(gateway: Gateway, port: int) -> tuple[FrontendValidation | None, Path]:
    """What is asked of the clients of a port, and where that is: what is said of the port, else of all."""
    place: Path = ("spec", "tls", "frontend")
    frontend = None if gateway.spec.tls is None else gateway.spec.tls.frontend
    if frontend is None:
        return None, place
    for index, of_port in enumerate(frontend.per_port):
        if of_port.port == port:
            return of_port.tls.validation, (*place, "perPort", index, "tls", "validation")
    return frontend.default.validation, (*place, "default", "validation")


def split_identities(tls: ListenerTls) -> tuple[str, ...]:
    """The patterns of the listener's option, in no order."""
    text = tls.options.get(IDENTITIES_OPTION, "")
    return tuple(sorted({word for word in (part.strip() for part in text.split(",")) if word}))


def is_optional(tls: ListenerTls) -> bool:
    """Whether clients may come without a certificate."""
    return tls.options.get(CLIENT_CERTIFICATES_OPTION) == "optional"


def _check_frontend(say: Reporter, frontend: FrontendTls, ports: set[int]) -> None:
    place: Path = ("spec", "tls", "frontend")
    if not ports:
        say.warning(place, "no-effect", "frontend has no effect: there is no HTTPS listener")
    validations = [((*place, "default", "validation"), frontend.default.validation)]
    check_unique(say, (*place, "perPort"), [str(x.port) for x in frontend.per_port], "port", field="port")
    for index, of_port in enumerate(frontend.per_port):
        if ports and of_port.port not in ports:
            text = f"there is no HTTPS listener on port {of_port.port}"
            say.warning((*place, "perPort", index, "port"), "no-effect", f"it has no effect: {text}")
        validations.append(((*place, "perPort", index, "tls", "validation"), of_port.tls.validation))
    for where, validation in validations:
        for index, ref in enumerate(() if validation is None else validation.ca_certificate_refs):
            _check_ref(say, (*where, "caCertificateRefs", index), ref)


def _check_listener(say: Reporter, place: Path, listener: GatewayListener, asked: FrontendValidation | None) -> None:
    tls = listener.tls
    if listener.protocol == "HTTP":
        if tls is not None:
            say.error((*place, "tls"), "no-effect", "tls is for protocol: HTTPS")
        return
    if tls is None:
        say.error(place, "missing-field", "protocol: HTTPS needs tls, with certificateRefs")
        return
    for index, ref in enumerate(tls.certificate_refs):
        _check_ref(say, (*place, "tls", "certificateRefs", index), ref)
    _check_options(say, (*place, "tls", "options"), tls, asked)


def _check_options(say: Reporter, place: Path, tls: ListenerTls, asked: FrontendValidation | None) -> None:
    for name, value in tls.options.items():
        if name == IDENTITIES_OPTION:
            patterns = split_identities(tls)
            faults = [fault for pattern in patterns if (fault := identity_fault(pattern))]
            for fault in faults or ([] if patterns else ["no identity is named"]):
                say.error((*place, name), "invalid-identity", fault)
        elif name == CLIENT_CERTIFICATES_OPTION:
            if value not in ("required", "optional"):
                say.error((*place, name), "invalid-value", f"{value!r} is not one of: required, optional")
        else:
            known = f"{IDENTITIES_OPTION}, {CLIENT_CERTIFICATES_OPTION}"
            say.error((*place, name), "unknown-field", f"there is no option {name}; here may stand: {known}")
            continue
        if asked is None:
            fault = "clients are not asked for certificates: spec.tls.frontend.default.validation says that they are"
            say.error((*place, name), "no-effect", f"{name} has no effect: {fault}")


def _check_ref(say: Reporter, place: Path, ref: CertificateRef | CaCertificateRef) -> None:
    if (ref.group == "turnout.dev") != (ref.kind == "Certificate"):
        group = "turnout.dev" if ref.kind == "Certificate" else "''"
        say.error(place, "unknown-kind", f"{ref.kind} is of the group {group}, not of {ref.group!r}")


def check_predictor_tls(say: Reporter, tls: PredictorTls, endpoints: Sequence[PredictorEndpoint]) -> None:
    place: Path = ("spec", "tls")
    name = tls.server_name
    if name is not None and not is_ip(name) and (fault := hostname_fault(name, wildcard=False)):
        say.error((*place, "serverName"), "invalid-hostname", fault)
    for index, name in enumerate(tls.subject_alt_names):
        where = (*place, "subjectAltNames", index)
        if ":" in name:
            if fault := identity_fault(name):
                say.error(where, "invalid-identity", fault)
        elif fault := hostname_fault(name, wildcard=False):
            say.error(where, "invalid-hostname", fault)
    check_unique(say, (*place, "subjectAltNames"), tls.subject_alt_names, "name", field=None)
    if tls.insecure_skip_verify:
        say.warning((*place, "insecureSkipVerify"), "insecure", "anybody is believed to be the endpoint")
        for name, value in (("caCertificate", tls.ca_certificate), ("subjectAltNames", tls.subject_alt_names)):
            if value:
                say.error((*place, name), "no-effect", f"{name} has no effect with insecureSkipVerify: true")
    elif endpoints and not tls.subject_alt_names and find_server_name(tls, endpoints) is None:
        fault = "serverName or subjectAltNames is needed: the endpoints have no DNS name in common to be verified by"
        say.error(place, "missing-field", fault)


def find_server_name(tls: PredictorTls, endpoints: Sequence[PredictorEndpoint]) -> str | None:
    """What is sent as SNI: what is written, or the DNS name of all endpoints, if they have one."""
    if tls.server_name is not None:
        return tls.server_name
    names = {endpoint.address.lower().removesuffix(".") for endpoint in endpoints}
    name = next(iter(names)) if len(names) == 1 else ""
    return name if name and not is_ip(name) else None
