"""Rule files: reading them once, and a Source that watches them.

* A PATH is a file, or a folder that is read with its sub-folders: `*.yaml` and `*.yml`, in the order of their
  names; hidden names (`.git`, a ConfigMap's `..data`) are skipped, links are followed.
* Watching is by stat, which works on every file system and sees a ConfigMap's swap of `..data`: the names
  stay, the inodes behind them change.
* All or nothing: files are read when they have been still for a moment, one error anywhere rejects the whole,
  and so does a path that is gone or has no document in it. What was rejected is tried again once it changes.
* Reading and compiling happen in a thread, since 10,000 rules take a second.
"""

import asyncio
import contextlib
import gc
import hashlib
import os
import stat
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

import msgspec

from turnout.rules.compile import compile_documents
from turnout.rules.diagnostics import Diagnostic
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Document, Report
from turnout.rules.snapshot import Origin, Origins, Snapshot
from turnout.rules.source import Loaded, Rejected, SecretFiles, Update

POLL_S = 0.25
SETTLE_S = 0.05
"""Files are read once they have not changed for this long, or after `MAX_SETTLES` such waits."""
MAX_SETTLES = 40
RACY_S = 2.0
"""A file this young when it was read may change again under the same time stamp, so it is read again."""
_SUFFIXES = (".yaml", ".yml")

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""(path, device, inode, size, mtime in ns) of each file; -1 for one that is not there."""


class Result(msgspec.Struct, frozen=True):
    """What paths hold. `snapshot` is None if a diagnostic is an error; they are sorted by place."""

    documents: list[Document]
    snapshot: Snapshot | None
    origins: Origins
    diagnostics: tuple[Diagnostic, ...]
    secrets: tuple[SecretFiles, ...] = ()

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity == "error")

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity == "warning")


def load_paths(paths: Iterable[str | os.PathLike[str]]) -> Result:
    """Read, check and compile. Never raises for what is in the files or not there: that is in the diagnostics."""
    files = _read_files([os.fspath(p) for p in paths])
    with _no_collection():
        return _compile(files)


class FileSource:
    """A `turnout.rules.source.Source` over files and folders."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]], poll_s: float = POLL_S) -> None:
        self._paths = [os.fspath(p) for p in paths]
        self._poll_s = poll_s
        self._wanted = asyncio.Event()

    def reload(self) -> None:
        """Look again now and yield what is found even if it is unchanged. To be called on the loop's thread."""
        self._wanted.set()

    def on_served(self, loaded: Loaded) -> None:
        """Files are there again after a restart: nothing is to be kept."""

    def dump(self) -> None:
        """Files have nothing to tell that the Snapshot's origins do not."""

    def discovery(self) -> None:
        """There is no control plane."""

    async def updates(self) -> AsyncIterator[Update]:
        """The present state, then one item for each change and each `reload`, for ever."""
        async for files in self.contents():
            yield await asyncio.to_thread(_update, files)

    async def contents(self) -> AsyncIterator["Files"]:
        """The same as they were read: for a control plane, which keeps the text. One consumer of either."""
        stamp: Stamp = ()
        digest = b""
        first, racy = True, False
        while True:
            asked = self._wanted.is_set()
            self._wanted.clear()
            if first or asked or racy or _stamp(self._paths) != stamp:
                stamp = await self._settled()
                racy = _is_racy(stamp, time.time())
                files = await asyncio.to_thread(_read_files, self._paths)
                if first or asked or files.digest() != digest:
                    digest = files.digest()
                    yield files
                first = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._wanted.wait()

    async def _settled(self) -> Stamp:
        """The stamp once it is the same twice; a writer that never rests is read at last as it is."""
        stamp = _stamp(self._paths)
        for _ in range(MAX_SETTLES):
            if not _is_racy(stamp, time.time(), SETTLE_S):
                break
            await asyncio.sleep(SETTLE_S)
            before, stamp = stamp, _stamp(self._paths)
            if stamp == before:
                break
        return stamp


class Files(msgspec.Struct):
    """Contents by path; and what could not be read, as (path, code, message)."""

    texts: dict[str, bytes]
    faults: list[tuple[str, str, str]]

    def digest(self) -> bytes:
        return hashlib.sha256(msgspec.msgpack.encode((list(self.texts.items()), self.faults))).digest()


def _read_files(paths: list[str]) -> Files:
    files = Files({}, [])
    seen: set[tuple[int, int]] = set()
    for path in paths:
        count = 0
        for name, info in _walk(path):
            if info is None or not stat.S_ISREG(info.st_mode):
                continue
            count += 1
            if (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            try:
                with open(name, "rb") as file:
                    files.texts[name] = file.read()
            except OSError as exc:
                files.faults.append((name, "unreadable", f"can't be read: {exc.strerror}"))
        if not count:
            files.faults.append((path, "not-found", _why_nothing(path)))
    return files


def _why_nothing(path: str) -> str:
    if os.path.isdir(path):
        return "there is no *.yaml or *.yml in this folder"
    return "this is no regular file" if os.path.exists(path) else "there is no such file"


def decode_files(files: Files, report: Report) -> Iterator[tuple[str, str]]:
    """The path and text of each file; what could not be read, or is not UTF-8, goes to `report`."""
    for path, code, message in files.faults:
        report.add("error", Origin(path, 1), code, message)
    for path, content in files.texts.items():
        try:
            yield path, content.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            line = content.count(b"\n", 0, exc.start) + 1
            report.add("error", Origin(path, line), "not-utf-8", f"byte {content[exc.start]:#04x} is not UTF-8")


def _compile(files: Files) -> Result:
    report = Report()
    documents: list[Document] = []
    for path, text in decode_files(files, report):
        documents += read_documents(path, text, report)
    if not documents and not report.found:
        report.add("error", Origin(next(iter(files.texts), ""), 1), "no-documents", "there is no document in it")
    compiled = compile_documents(documents, report)
    return Result(documents, compiled.snapshot, compiled.origins, compiled.diagnostics, compiled.secrets)


def _update(files: Files) -> Update:
    with _no_collection():
        result = _compile(files)
    if result.snapshot is None:
        return Rejected(result.errors)
    return Loaded(result.snapshot, result.origins, result.warnings, result.secrets)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the cyclic collector: no cycles are made here, and going through 300,000 containers again and again
    takes it as long as the work itself (10,000 rules: 1.4 s, and 0.8 s so)."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _stamp(paths: list[str]) -> Stamp:
    return tuple(
        (name, -1, -1, -1, -1) if info is None else (name, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
        for path in paths
        for name, info in _walk(path)
    )


def _is_racy(stamp: Stamp, now: float, within_s: float = RACY_S) -> bool:
    return any(abs(now * 1e9 - mtime_ns) < within_s * 1e9 for *_, mtime_ns in stamp)


def _walk(path: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """The file itself, or the rule files of a folder, in order."""
    info = _stat(path)
    if info is None or not stat.S_ISDIR(info.st_mode):
        yield path, info
        return
    yield from _walk_folder(path, frozenset({(info.st_dev, info.st_ino)}))


def _walk_folder(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result | None]]:
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        info = _stat(path)
        if info is not None and stat.S_ISDIR(info.st_mode):
            # A link to a folder above would go round for ever.
            place = (info.st_dev, info.st_ino)
            if place not in above:
                yield from _walk_folder(path, above | {place})
        elif name.endswith(_SUFFIXES):
            yield path, info


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None
