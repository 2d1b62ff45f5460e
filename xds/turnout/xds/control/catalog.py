"""What each node gets: the documents that select it, compiled and translated, once for all nodes alike.

* Nodes with the same verdict of the selectors share one *view*. Views are made in a thread, for the nodes seen so far,
  before an edition is shown to anyone; a node of another kind that comes later has its own made when it asks.
* A Predictor that no selected route names is not sent, and neither is what only helps to resolve names.
* An edition is swapped whole. What is as it was before is not worked out again: a view whose documents are the same is
  the same view, and others take over every resource that would be equal.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from turnout.rules.compile import Compiled, compile_documents
from turnout.rules.documents.document import Document
from turnout.rules.snapshot import Forward, Origin, Origins, Snapshot
from turnout.rules.source import SecretFiles
from turnout.xds.control.compiler import Compile, are_same
from turnout.xds.control.secrets import Contents, SecretReader
from turnout.xds.control.selection import Selectors, select_documents
from turnout.xds.resources import SECRET, Resource, Resources, group_resources
from turnout.xds.translate.emit.secrets import make_secrets
from turnout.xds.translate.reuse import Pieces, Reuse

MAX_VIEWS = 256
"""Views that are kept; metadata is a client's to choose, so it must not fill the memory."""
MAX_KINDS = 1024
"""Kinds of nodes that are remembered, to have their views ready."""

Translate: TypeAlias = Callable[[Snapshot, Reuse], Mapping[str, Mapping[str, Resource]]]
FindOrigins: TypeAlias = Callable[[Snapshot, Origins], Mapping[tuple[str, str], tuple[Origin, ...]]]
Labels: TypeAlias = Mapping[str, str]


class Labelled(Protocol):
    """A node, as far as it matters here."""

    @property
    def metadata(self) -> Labels: ...


class View(msgspec.Struct, frozen=True, gc=False):
    """What nodes of one verdict get, and what it was made of."""

    documents: list[Document]
    snapshot: Snapshot
    origins: Origins
    resources: Resources
    pieces: Pieces
    secrets: tuple[SecretFiles, ...] = ()


class Workshop(NamedTuple):
    """What makes a view of documents."""

    compile: Compile
    translate: Translate


class Edition:
    """All views of one state. `documents` compile without an error."""

    def __init__(self, documents: list[Document], workshop: Workshop, before: "Edition | None" = None) -> None:
        self._documents = documents
        self._workshop = workshop
        self._views: OrderedDict[frozenset[str], View] = OrderedDict()
        self._former = dict(before._views) if before else {}
        self.selectors = Selectors(documents)

    def view(self, labels: Labels) -> View:
        """What a node with these labels gets."""
        verdict = self.selectors.verdict(labels)
        view = self._views.get(verdict)
        if view is None:
            view = self._views[verdict] = self._make(verdict)
            if len(self._views) > MAX_VIEWS:
                self._views.popitem(last=False)
        else:
            self._views.move_to_end(verdict)
        return view

    def views(self) -> list[View]:
        """Those that were asked for."""
        return list(self._views.values())

    def _make(self, verdict: frozenset[str]) -> View:
        documents = select_documents(self._documents, verdict)
        former = self._former.get(verdict)
        if former is not None and are_same(former.documents, documents):
            return former
        compiled = self._workshop.compile(documents, None)
        snapshot = prune(_snapshot_of(compiled))
        if former is not None and former.snapshot == snapshot:
            # Who sees the same object knows without a look that nothing has changed.
            return View(documents, former.snapshot, compiled.origins, former.resources, former.pieces, compiled.secrets)
        alike = former or next(iter(self._views.values()), None)
        reuse = Reuse(alike.pieces if alike else None)
        resources = {
            type_url: {name: self._share(resource, alike) for name, resource in of_type.items()}
            for type_url, of_type in self._workshop.translate(snapshot, reuse).items()
        }
        return View(documents, snapshot, compiled.origins, _keep(former, resources), reuse.pieces, compiled.secrets)

    def _share(self, resource: Resource, alike: View | None) -> Resource:
        """Equal resources, of several views or of the edition before, are one in memory."""
        type_url, name = resource.type_url, resource.name
        if alike is not None and alike.resources[type_url].get(name) is resource:
            return resource
        for view in (*self._views.values(), *self._former.values()):
            known = view.resources[type_url].get(name)
            if known == resource:
                return known
        return resource

    def settle(self) -> None:
        """Let go of the edition before, once the views that are wanted are made."""
        self._former = {}


class Catalog:
    """The ADS server's Provider. Before the first edition there is nothing for anybody."""

    def __init__(self, translate: Translate, find_origins: FindOrigins, compile: Compile = compile_documents) -> None:
        self._workshop = Workshop(compile, translate)
        self._find_origins = find_origins
        self._edition = Edition([], Workshop(compile_documents, lambda *_: group_resources(())))
        self._kinds: OrderedDict[frozenset[tuple[str, str]], None] = OrderedDict()
        self._origins: dict[tuple[str, str], tuple[Origin, ...]] = {}
        self._origins_of: list[View] = []
        """The views that `_origins` was made of."""
        self._reader = SecretReader()
        self._contents: Contents = {}
        self._looked: Contents = {}
        self._with_secrets: dict[int, tuple[View, Resources]] = {}
        """What nodes get, with its secrets, by the identity of the view."""

    def kinds(self) -> list[Labels]:
        """The labels, as far as they mattered, of nodes that were seen."""
        return [dict(kind) for kind in self._kinds]

    def prepare(self, documents: list[Document], kinds: Iterable[Labels]) -> Edition:
        """Make an edition with the views that these kinds of nodes will want. Raises what translation raises.

        Blocks: for a thread, so it does not look at what the loop changes.
        """
        edition = Edition(documents, self._workshop, self._edition)
        for labels in ({}, *kinds):
            edition.view(labels)
        edition.settle()
        return edition

    def install(self, edition: Edition) -> None:
        """From now on this is what everybody gets."""
        self._edition = edition
        self._with_secrets.clear()

    def look_at_secrets(self) -> Contents:
        """What is in the files of certificates now. Blocks."""
        files = {one for view in self._edition.views() for one in view.secrets}
        return self._reader.read(sorted(files, key=lambda one: one.name), self._contents)

    def renew_secrets(self, contents: Contents) -> bool:
        """Take what a look has found, if the one before has found the same; whether it is other than what is told."""
        settled, self._looked = contents == self._looked, contents
        if not settled or contents == self._contents:
            return False
        self._contents = contents
        self._with_secrets.clear()
        return True

    def resources_for(self, node: Labelled) -> Resources:
        """What this node gets now."""
        self._remember(node.metadata)
        view = self._edition.view(node.metadata)
        return self._add_secrets(view) if view.secrets else view.resources

    def _add_secrets(self, view: View) -> Resources:
        known = self._with_secrets.get(id(view))
        if known is not None:
            return known[1]
        unread = [one for one in view.secrets if one not in self._contents]
        if unread:
            self._contents = {**self._contents, **self._reader.read(unread, self._contents)}
        secrets = {one.name: self._contents[one] for one in view.secrets if one in self._contents}
        resources = {**view.resources, SECRET: make_secrets(view.snapshot, secrets)}
        # The view goes along, so that its identity stays its own.
        self._with_secrets[id(view)] = view, resources
        return resources

    def origins_of(self, type_url: str, name: str, routes: Collection[str] = ()) -> tuple[Origin, ...]:
        """The places in documents that this resource is made of, over all views, sorted.

        Only those of some routes of it, if any are named and still there.
        """
        named = self._places_of(set(routes)) if routes else ()
        if named:
            return named
        views = self._edition.views()
        if {*map(id, views)} != {*map(id, self._origins_of)}:
            self._origins, self._origins_of = self._all_origins(views), views
        return self._origins.get((type_url, name), ())

    def _places_of(self, routes: set[str]) -> tuple[Origin, ...]:
        views = self._edition.views()
        found = {x for view in views for (name, _), x in view.origins.routes.items() if name in routes}
        return _sorted(found)

    def _all_origins(self, views: list[View]) -> dict[tuple[str, str], tuple[Origin, ...]]:
        found: dict[tuple[str, str], set[Origin]] = {}
        for view in views:
            for key, origins in self._find_origins(view.snapshot, view.origins).items():
                found.setdefault(key, set()).update(origins)
        return {key: _sorted(x) for key, x in found.items()}

    def _remember(self, labels: Labels) -> None:
        """All of a node's labels that any document asks for, so that they can be judged by the next edition's."""
        matters = self._edition.selectors.labels
        kind = frozenset((key, labels[key]) for key in matters if key in labels)
        self._kinds[kind] = None
        self._kinds.move_to_end(kind)
        if len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)


def _keep(former: View | None, resources: Resources) -> Resources:
    """Types, and all of it, that are as they were are the same object as they were."""
    if former is None:
        return resources
    kept = {t: was if (was := former.resources.get(t)) == of_type else of_type for t, of_type in resources.items()}
    return former.resources if former.resources == kept else kept


def _sorted(origins: Iterable[Origin]) -> tuple[Origin, ...]:
    return tuple(sorted(origins, key=lambda o: (o.file, o.line, o.path)))


def prune(snapshot: Snapshot) -> Snapshot:
    """The snapshot without the clusters that no route of it names."""
    used = {
        name for route in snapshot.routes() if isinstance(route.action, Forward) for name in route.action.clusters()
    }
    return msgspec.structs.replace(snapshot, clusters=tuple(c for c in snapshot.clusters if c.name in used))


def _snapshot_of(compiled: Compiled) -> Snapshot:
    if compiled.snapshot is None:
        errors = "; ".join(str(d) for d in compiled.diagnostics if d.severity == "error")
        raise ValueError(f"documents that were right together are not in this selection: {errors}")
    return compiled.snapshot
