"""The ledger: what is accepted now, and the rules by which that changes. No loop, no network; it blocks.

* Each change is planned, compiled with everything else, written to the store, and only then is it what proxies get;
  whatever is wrong with it leaves everything as it was.
* A *pin* (a rollback sets it, `resume` takes it away) keeps the files out: what they say is checked, recorded and
  shown as *held*. The API may still change what is its own.
* One caller at a time. Whoever looks meanwhile sees the state before or after, never half of it.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from turnout.rules.compile import compile_documents
from turnout.rules.diagnostics import Diagnostic
from turnout.rules.documents.document import Report
from turnout.rules.files import Files, decode_files
from turnout.rules.snapshot import Origin
from turnout.xds.control.compiler import Compile
from turnout.xds.control.selection import check_selector
from turnout.xds.store.changes import (
    Change,
    apply_change,
    find_moved,
    plan_adoption,
    plan_apply,
    plan_delete,
    plan_files,
    plan_return,
)
from turnout.xds.store.objects import Key, Objects, StoredObject, hash_objects, read_objects
from turnout.xds.store.refusal import Refusal
from turnout.xds.store.states import State
from turnout.xds.store.store import Accepted, Store, StoreError

logger = logging.getLogger(__name__)

FILES_AUTHOR = "files"
MAX_NAMED_FILES = 3


class Text(NamedTuple):
    """Documents that somebody gives to the API; `name` is what they call the file."""

    name: str
    text: str


class Signature(NamedTuple):
    """Who makes a change, and what they say about it."""

    author: str
    message: str


class Applied(NamedTuple):
    """What an apply gave: which objects it named, what changed of them, and what is accepted after it."""

    given: list[Key]
    change: Change
    accepted: Accepted


class Ledger:
    """Begins where the store stands. `clock` tells the seconds since the epoch."""

    def __init__(self, store: Store, clock: Callable[[], float], compile: Compile = compile_documents) -> None:
        self._store = store
        self._clock = clock
        self._compile = compile
        self._files: Files | None = None
        self.accepted: Accepted | None = store.accepted()
        self.pinned: State | None = store.pinned()
        """The state that a rollback made, which keeps the files out."""
        self.held: State | None = None
        """What the files say, while a pin keeps it out."""
        self.warnings: tuple[Diagnostic, ...] = ()
        self.file_faults: tuple[Diagnostic, ...] = ()
        """Why the files as they are now can't be used; empty: they can."""
        self.files_read = False
        try:
            self.warnings = self._check(self.objects, Report())
        except Refusal as refusal:
            # Another version of Turnout took it. It can't be published, and the next change may mend it.
            for finding in refusal.findings:
                logger.error("the stored state is not right any more: %s", finding)

    @property
    def objects(self) -> Objects:
        """All objects as they stand."""
        return self.accepted.objects if self.accepted else {}

    # Changes

    def take_files(self, files: Files) -> None:
        """Make the file-owned objects what the files say; faults are kept in `file_faults`, not raised."""
        self._files = files
        self._sync_files()
        self.files_read = True

    def adopt_files(self) -> None:
        """There are no files: what they owned belongs to the API."""
        change = plan_adoption(self.objects)
        if change:
            self._accept(change, Signature(FILES_AUTHOR, "no files are watched any more"))

    def apply(self, texts: Sequence[Text], signature: Signature) -> Applied:
        """Create or replace objects. Raises Refusal."""
        report = Report()
        found = [item for name, text in texts for item in read_objects(name, text, "api", report)]
        if not found and not report.found:
            raise Refusal("invalid", "there is no document in it")
        change = plan_apply(self.objects, found, report)
        objects = apply_change(self.objects, change)
        warnings = self._check(objects, report)
        if change:
            self._accept(change, signature)
        self.warnings = warnings
        self._move(found)
        assert self.accepted is not None, "what was given is there now"
        applied = Applied([item.key for item in found], change, self.accepted)
        self._look_at_files_again()
        return applied

    def delete(self, key: Key, resource_version: str | None, signature: Signature) -> None:
        """Delete one object. Raises Refusal."""
        change = plan_delete(self.objects, key, resource_version)
        self.warnings = self._check(apply_change(self.objects, change), Report())
        self._accept(change, signature)
        self._look_at_files_again()

    def roll_back(self, name: str, signature: Signature) -> State:
        """Return to the state whose hash begins with `name`, and pin it; the state it returned to. Raises Refusal."""
        target = self._store.find_state(name)
        if target.held:
            raise Refusal("conflict", f"{target.hash} was held and never accepted; `turnout resume` takes the files")
        objects = self._store.objects_at(target)
        self.warnings = self._check(objects, Report())
        self._accept(plan_return(self.objects, objects), signature, pin=True)
        self._sync_files()
        return target

    def resume(self, signature: Signature) -> None:
        """Take the pin away, and what the files say now. Raises Refusal if nothing is pinned."""
        if self.pinned is None:
            raise Refusal("conflict", "nothing is pinned")
        before = self.pinned, self.held
        self.pinned, self.held = None, None
        try:
            self._sync_files(signature)
            self._store.unpin()
        except BaseException:
            self.pinned, self.held = before
            raise

    # Files

    def _sync_files(self, signature: Signature | None = None) -> None:
        if self._files is None:
            return
        report = Report()
        found = [
            item
            for path, text in decode_files(self._files, report)
            for item in read_objects(path, text, "file", report)
        ]
        if not found and not report.found:
            report.add(
                "error", Origin(next(iter(self._files.texts), ""), 1), "no-documents", "there is no document in it"
            )
        change = plan_files(self.objects, found, report)
        try:
            warnings = self._check(apply_change(self.objects, change), report)
        except Refusal as refusal:
            self._refuse_files(refusal.findings)
            return
        self.file_faults = ()
        if self.pinned is not None:
            self.held = self._hold(change) if change else None
            return
        if change:
            self._accept(change, signature or Signature(FILES_AUTHOR, _files_message(change, self.objects)))
        self.warnings = warnings
        self._move(found)

    def _look_at_files_again(self) -> None:
        """The API has changed what was in the way of the files, perhaps, or what a resume would make."""
        if not self.file_faults and self.pinned is None:
            return
        try:
            self._sync_files()
        except StoreError as error:
            logger.error("what the files say can't be stored: %s", error)

    def _refuse_files(self, findings: tuple[Diagnostic, ...]) -> None:
        if findings != self.file_faults:
            for finding in findings:
                logger.error("%s", finding)
            logger.error("the files have errors and are not taken; the last good state goes on")
        self.file_faults = findings

    def _hold(self, change: Change) -> State:
        """The state that a resume would make. It is recorded once, also over restarts."""
        objects = apply_change(self.objects, change)
        wanted = hash_objects(objects.values())
        if self.held is not None and self.held.hash == wanted:
            return self.held
        known = self._store.newest_with_hash(wanted)
        if known is not None:
            return known
        message = _files_message(change, self.objects)
        state = self._store.add_state(
            self.accepted, change, time=self._clock(), author=FILES_AUTHOR, message=message, held=True
        ).state
        logger.warning("the files say %s, which is held: a state is pinned (%s)", state.hash, message)
        return state

    # All changes

    def _check(self, objects: Objects, report: Report) -> tuple[Diagnostic, ...]:
        """The warnings about all objects together. Raises Refusal with every error, those in `report` too."""
        documents = [item.document for item in objects.values()]
        for document in documents:
            check_selector(document, report)
        # What can't be read is not among the objects: what else would be said of those that name it is not true.
        findings = report.sorted() if report.has_errors() else self._compile(documents, report).diagnostics
        errors = tuple(d for d in findings if d.severity == "error")
        if errors:
            raise Refusal("invalid", f"{len(errors)} error{'s' * (len(errors) != 1)} in the documents", errors)
        return tuple(d for d in findings if d.severity == "warning")

    def _accept(self, change: Change, signature: Signature, pin: bool | None = None) -> None:
        accepted = self._store.add_state(
            self.accepted,
            change,
            time=self._clock(),
            author=signature.author,
            message=signature.message,
            pin=pin,
        )
        self.accepted = accepted
        if pin is not None:
            self.pinned = accepted.state if pin else None
        state = accepted.state
        logger.info("accepted %s by %s: %s", state.hash, state.author, state.message)

    def _move(self, found: Sequence[StoredObject]) -> None:
        """Follow what was written differently and says the same, so that places are told right."""
        moved = find_moved(self.objects, found)
        if moved and self.accepted is not None:
            self._store.move(moved)
            self.accepted = Accepted(self.accepted.state, {**self.objects, **{item.key: item for item in moved}})


def _files_message(change: Change, objects: Objects) -> str:
    """`3 objects of iris.yaml, canary.yaml`."""
    files = sorted({(item or objects[key]).file for key, item in change.items()})
    named = ", ".join(files[:MAX_NAMED_FILES])
    more = f" and {len(files) - MAX_NAMED_FILES} more files" * (len(files) > MAX_NAMED_FILES)
    return f"{len(change)} object{'s' * (len(change) != 1)} of {named}{more}"
