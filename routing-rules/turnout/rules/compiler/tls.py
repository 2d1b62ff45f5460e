"""TLS of sockets and of clusters. Both were checked, each document by itself; here is told what goes not together."""

import msgspec

from turnout.rules.checks.tls import find_server_name, find_validation, is_optional, split_identities
from turnout.rules.compiler.attach import Member, Socket
from turnout.rules.compiler.certificates import Certificates
from turnout.rules.compiler.hostnames import narrowest
from turnout.rules.documents.document import Path, Report
from turnout.rules.documents.predictor import Predictor
from turnout.rules.documents.tls import PredictorTls
from turnout.rules.tls import DownstreamTls, ServedCertificates, SubjectAltName, UpstreamTls

Asked = tuple[tuple[str, ...], bool]
"""Of the clients of a socket: the CAs' secrets, none if they are asked for nothing, and whether they have to answer."""


class SocketTls(msgspec.Struct, frozen=True):
    """TLS of a socket, None if it speaks none; and who may ask, by the listener's hostname (none named: everybody)."""

    context: DownstreamTls | None = None
    identities: dict[str, tuple[str, ...]] = {}

    @property
    def asks(self) -> bool:
        """Whether clients are asked for certificates."""
        return self.context is not None and bool(self.context.client_ca)

    def allowed(self, domain: str) -> tuple[str, ...]:
        """Who may ask under a domain: that is said by the listener which the domain belongs to."""
        owner = narrowest(list(self.identities), domain)
        return () if owner is None else self.identities[owner]


def compile_socket_tls(socket: Socket, certificates: Certificates, report: Report) -> SocketTls:
    """The TLS of the listeners that share a socket. One port speaks TLS or does not, and asks all clients alike."""
    if not socket.members:
        return SocketTls()
    first = socket.members[0]
    for member in socket.members[1:]:
        if member.listener.protocol != first.listener.protocol:
            text = f"{_name(first)} speaks {first.listener.protocol} on the same port"
            _conflict(member, ("protocol",), text, report)
            return SocketTls()
    if first.listener.tls is None:
        return SocketTls()
    context = DownstreamTls(_served(socket, certificates, report), *_asked(socket, certificates, report))
    return SocketTls(context, _identities(socket, report))


def compile_upstream_tls(predictor: Predictor, tls: PredictorTls) -> UpstreamTls:
    """TLS to the endpoints of a Predictor."""
    namespace, spec = predictor.metadata.namespace, predictor.spec
    return UpstreamTls(
        server_name=find_server_name(tls, spec.endpoints) or "",
        certificate="" if tls.certificate is None else f"{namespace}/{tls.certificate.name}",
        ca="" if tls.ca_certificate is None else f"{namespace}/{tls.ca_certificate.name}",
        subject_alt_names=tuple(SubjectAltName("uri" if ":" in x else "dns", x) for x in tls.subject_alt_names),
        verify=not tls.insecure_skip_verify,
    )


def _served(socket: Socket, certificates: Certificates, report: Report) -> tuple[ServedCertificates, ...]:
    found: dict[str, list[str]] = {}
    for member in socket.members:
        tls, say = member.listener.tls, report.on(member.document)
        assert tls is not None
        for number, ref in enumerate(tls.certificate_refs):
            path = ("spec", "listeners", member.index, "tls", "certificateRefs", number)
            name = certificates.resolve(ref, member.gateway.metadata.namespace, say, path)
            if name not in found.setdefault(member.hostname, []):
                found[member.hostname].append(name)
    return tuple(ServedCertificates(tuple(found[hostname]), hostname) for hostname in sorted(found))


def _asked(socket: Socket, certificates: Certificates, report: Report) -> Asked:
    """What is asked of the clients of a socket, which has to be the same for all of its listeners."""
    of_gateway: dict[int, tuple[str, ...]] = {}
    asked: list[Asked] = []
    for member in socket.members:
        if id(member.document) not in of_gateway:
            of_gateway[id(member.document)] = _client_cas(member, certificates, report)
        names = of_gateway[id(member.document)]
        asked.append((names, not names or member.listener.tls is None or not is_optional(member.listener.tls)))
        if asked[-1] != asked[0]:
            text = f"{_name(socket.members[0])} asks other certificates of clients on the same port, or of others"
            _conflict(member, ("tls",), text, report)
    return asked[0]


def _client_cas(member: Member, certificates: Certificates, report: Report) -> tuple[str, ...]:
    validation, path = find_validation(member.gateway, member.listener.port)
    refs = () if validation is None else validation.ca_certificate_refs
    say, namespace = report.on(member.document), member.gateway.metadata.namespace
    names = {
        certificates.resolve(ref, namespace, say, (*path, "caCertificateRefs", index)) for index, ref in enumerate(refs)
    }
    return tuple(sorted(names))


def _identities(socket: Socket, report: Report) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for member in socket.members:
        assert member.listener.tls is not None
        wanted = split_identities(member.listener.tls)
        if found.setdefault(member.hostname, wanted) != wanted:
            text = "another listener of this port and hostname allows other identities"
            _conflict(member, ("tls", "options"), text, report)
    return found


def _conflict(member: Member, path: Path, text: str, report: Report) -> None:
    report.on(member.document).error(("spec", "listeners", member.index, *path), "listener-conflict", text)


def _name(member: Member) -> str:
    return f"listener {member.listener.name} of {member.document}"
