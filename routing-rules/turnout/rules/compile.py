"""Documents to a Snapshot: the one place where Gateway API's semantics are applied.

The way: every document is checked; routes are compiled into entries, each with its place in the order;
entries are dealt to virtual hosts, one a domain and listener; a virtual host is sorted. The result does not
depend on the order of files or documents.
"""

import msgspec

from turnout.rules import snapshot as s
from turnout.rules.canonical import make_canonical
from turnout.rules.checks.document import check_document, check_names
from turnout.rules.compiler.attach import Listeners, Socket
from turnout.rules.compiler.certificates import Certificates
from turnout.rules.compiler.grpcroutes import compile_grpcroute
from turnout.rules.compiler.lint import lint_identities, lint_mirrors, lint_shadows, lint_unused
from turnout.rules.compiler.policies import Policies
from turnout.rules.compiler.precedence import age_of
from turnout.rules.compiler.references import References
from turnout.rules.compiler.routes import Entry, compile_route
from turnout.rules.compiler.tls import SocketTls, compile_socket_tls
from turnout.rules.diagnostics import Diagnostic
from turnout.rules.documents.document import Document, Report
from turnout.rules.documents.grpcroute import GRPCRoute
from turnout.rules.documents.httproute import HTTPRoute
from turnout.rules.source import SecretFiles


class Compiled(msgspec.Struct, frozen=True):
    """A Snapshot and where its parts were written; None if there were errors. Diagnostics are sorted by place."""

    snapshot: s.Snapshot | None
    origins: s.Origins
    diagnostics: tuple[Diagnostic, ...]
    secrets: tuple[SecretFiles, ...] = ()
    """Where what the Snapshot names as secrets is to be found."""


def compile_documents(documents: list[Document], report: Report | None = None) -> Compiled:
    """Check and compile. `report` holds what was already found when the documents were read."""
    report = report or Report()
    documents = sorted(documents, key=lambda d: (d.resource.kind, d.resource.key, d.file, d.line))
    for document in documents:
        check_document(document, report)
    check_names(documents, report)
    if report.has_errors():
        return Compiled(None, s.Origins(), report.sorted())
    references, policies, certificates = References(documents), Policies(documents), Certificates(documents)
    listeners = Listeners(documents)
    contexts = {name: compile_socket_tls(socket, certificates, report) for name, socket in listeners.sockets.items()}
    certificates.check_predictors(documents, report)
    if report.has_errors():
        return Compiled(None, s.Origins(), report.sorted())
    hosts, entries = _deal(documents, references, policies, listeners, report)
    lint_shadows((found for of_socket in hosts.values() for found in of_socket.values()), report)
    for name, found in hosts.items():
        lint_identities(listeners.sockets[name], contexts[name].asks, found.values(), report)
    lint_mirrors(entries, report)
    lint_unused(references, policies, certificates, report)
    made = s.Snapshot(
        listeners=tuple(
            _listener(socket, contexts[name], hosts[name]) for name, socket in sorted(listeners.sockets.items())
        ),
        clusters=references.clusters(),
        missing=tuple(sorted(references.missing)),
    )
    snapshot = make_canonical(made)
    snapshot.check()
    origins = _origins(entries, references, listeners)
    return Compiled(snapshot, origins, report.sorted(), certificates.files())


def _deal(
    documents: list[Document], references: References, policies: Policies, listeners: Listeners, report: Report
) -> tuple[dict[str, dict[str, list[Entry]]], list[Entry]]:
    """Entries by socket and domain, in order; and all entries."""
    hosts: dict[str, dict[str, list[Entry]]] = {
        name: {domain: [] for domain in socket.own_domains()} for name, socket in listeners.sockets.items()
    }
    everything = []
    for document in sorted(documents, key=_attachment_order):
        match document.resource:
            case HTTPRoute() as route:
                entries = compile_route(document, route, references, policies, report)
            case GRPCRoute() as route:
                entries = compile_grpcroute(document, route, references, policies, report)
            case _:
                continue
        everything += entries
        for binding in listeners.bind(document, route, report):
            of_socket = hosts[binding.socket]
            for domain in binding.domains:
                of_socket.setdefault(domain, []).extend(entries)
    for of_socket in hosts.values():
        for found in of_socket.values():
            found.sort(key=lambda entry: entry.key)
    return hosts, everything


def _attachment_order(document: Document) -> tuple[float, str, str, str]:
    """Of two routes that exclude each other the first is served: the older, then by name (and, last, by kind)."""
    resource = document.resource
    return (*age_of(resource.metadata), resource.kind)


def _listener(socket: Socket, tls: SocketTls, hosts: dict[str, list[Entry]]) -> s.Listener:
    """Domains with the same routes, for the same clients, share one virtual host."""
    same: dict[tuple[tuple[int, ...], tuple[str, ...]], list[str]] = {}
    for domain in sorted(hosts):
        same.setdefault((tuple(id(entry) for entry in hosts[domain]), tls.allowed(domain)), []).append(domain)
    virtual_hosts = tuple(
        s.VirtualHost(domains[0], tuple(domains), tuple(entry.route for entry in hosts[domains[0]]), allowed)
        for (_, allowed), domains in same.items()
    )
    return s.Listener(socket.name, virtual_hosts, socket.address, socket.port, tls.context)


def _origins(entries: list[Entry], references: References, listeners: Listeners) -> s.Origins:
    routes: dict[tuple[str, int], s.Origin] = {}
    position: dict[str, int] = {}
    # Entries of one document come in their order, which is that of every virtual host they stand in.
    for entry in entries:
        name = entry.route.name
        routes[name, position.setdefault(name, 0)] = entry.origin()
        position[name] += 1
    sockets = {name: x.origin for name, x in listeners.sockets.items() if x.origin is not None}
    return s.Origins(routes, references.origins, references.missing, sockets)
