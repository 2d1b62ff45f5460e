"""Who may change what: pure functions from the present objects and a wish to a Change, or a Refusal.

* Each object has one owner. The files replace exactly what files own; the API changes exactly what files do not.
* An apply or a delete may say the `resourceVersion` that it is based on; if the object has moved on since, it is
  refused, as Kubernetes does. Without one, the last writer wins.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from turnout.rules.documents.document import Report
from turnout.rules.snapshot import Origin
from turnout.xds.store.objects import Key, Objects, StoredObject
from turnout.xds.store.refusal import Refusal

Change: TypeAlias = dict[Key, StoredObject | None]
"""What becomes of each object that changes; None: it is deleted."""


def plan_files(current: Objects, found: Sequence[StoredObject], report: Report) -> Change:
    """Make the file-owned objects those that were found. What can't be goes to `report`."""
    wanted = _by_key(found, report)
    change: Change = {}
    for key, item in wanted.items():
        present = current.get(key)
        if present is not None and present.owner == "api":
            fault = f"{key} was made through the API; delete it there before a file may own it"
            report.add("error", Origin(item.file, item.line, "metadata.name"), "owned-by-api", fault)
        elif present is None or present.digest != item.digest:
            change[key] = item
    for key, present in current.items():
        if present.owner == "file" and key not in wanted:
            change[key] = None
    return change


def find_moved(current: Objects, found: Iterable[StoredObject]) -> list[StoredObject]:
    """Objects that say the same as before in other words or at another place, with their versions."""
    moved = []
    for item in found:
        present = current.get(item.key)
        if present is None or (present.owner, present.digest) != (item.owner, item.digest):
            continue
        if (present.file, present.line, present.text) != (item.file, item.line, item.text):
            moved.append(msgspec.structs.replace(item, version=present.version))
    return moved


def plan_adoption(current: Objects) -> Change:
    """Give what files own to the API: for a control plane that has no files."""
    return {
        key: msgspec.structs.replace(present, owner="api")
        for key, present in current.items()
        if present.owner == "file"
    }


def plan_apply(current: Objects, given: Sequence[StoredObject], report: Report) -> Change:
    """Create or replace. What is wrong within the given goes to `report`; raises Refusal for a conflict."""
    change: Change = {}
    for key, item in _by_key(given, report).items():
        present = current.get(key)
        if present is not None:
            _refuse_file(present)
        _refuse_stale(key, present, item.document.resource.metadata.resource_version)
        if present is None or present.digest != item.digest:
            change[key] = item
    return change


def plan_delete(current: Objects, key: Key, resource_version: str | None) -> Change:
    """Delete one object. Raises Refusal if it is not there or may not be deleted."""
    present = current.get(key)
    if present is None:
        raise Refusal("not-found", f"there is no {key}")
    _refuse_file(present)
    _refuse_stale(key, present, resource_version)
    return {key: None}


def plan_return(current: Objects, target: Objects) -> Change:
    """Make everything, with its owners, as it was."""
    change: Change = {
        key: item
        for key, item in target.items()
        if (present := current.get(key)) is None or (present.digest, present.owner) != (item.digest, item.owner)
    }
    return {**change, **{key: None for key in current if key not in target}}


def apply_change(current: Objects, change: Change, version: int = 0) -> dict[Key, StoredObject]:
    """The objects after a change that is the state with number `version`."""
    objects = dict(current)
    for key, item in change.items():
        if item is None:
            objects.pop(key, None)
        else:
            objects[key] = msgspec.structs.replace(item, version=version)
    return objects


def _by_key(found: Sequence[StoredObject], report: Report) -> dict[Key, StoredObject]:
    wanted: dict[Key, StoredObject] = {}
    for item in found:
        first = wanted.setdefault(item.key, item)
        if first is not item:
            fault = f"{item.key} is already at {first.place}"
            report.add("error", Origin(item.file, item.line, "metadata.name"), "duplicate", fault)
    return wanted


def _refuse_file(present: StoredObject) -> None:
    if present.owner == "file":
        raise Refusal("conflict", f"{present.key} is owned by the file {present.place}; change it there")


def _refuse_stale(key: Key, present: StoredObject | None, base: str | None) -> None:
    if base is None:
        return
    if present is None:
        raise Refusal("conflict", f"{key} is based on resourceVersion {base}, and there is no such object now")
    if base != str(present.version):
        fault = f"{key} has resourceVersion {present.version} now, and this is based on {base}: get it again"
        raise Refusal("conflict", fault)
