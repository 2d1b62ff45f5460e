"""Secrets in files: a SecretSource that reads what a Loaded says, and again when it changes.

Watched by stat, like rule files, and for the same reasons. Certificate and key are two files and change one after the
other, so they are read when a look and the next one find them the same.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable

from turnout.rules.source import Secret, SecretFault, SecretFiles

POLL_S = 0.25
MAX_BYTES = 1 << 20
"""A bundle of all CAs of the world is a quarter of it."""

Stamp = tuple[tuple[int, int, int, int] | None, ...]
"""(device, inode, size, mtime in ns) of each file; None for one that is not there."""


class FileSecrets:
    """`follow` says which files, `updates` what is in them."""

    def __init__(self, poll_s: float = POLL_S) -> None:
        self._poll_s = poll_s
        self._followed: dict[str, SecretFiles] = {}
        self._read: dict[str, Stamp] = {}
        self._seen: dict[str, Stamp] = {}

    async def follow(self, files: Iterable[SecretFiles]) -> list[Secret | SecretFault]:
        """These and no others from now on; what is in those that are new or have changed, at once."""
        self._followed = {one.name: one for one in files}
        return await asyncio.to_thread(self._load, list(self._followed.values()), False)

    async def updates(self) -> AsyncIterator[Secret | SecretFault]:
        """What changes, for ever."""
        while True:
            await asyncio.sleep(self._poll_s)
            if self._followed:
                for update in await asyncio.to_thread(self._load, list(self._followed.values()), True):
                    yield update

    def _load(self, followed: list[SecretFiles], settled: bool) -> list[Secret | SecretFault]:
        """Read what is not as it was read last. `settled`: only what is as it was at the last look."""
        found = []
        for files in followed:
            stamp = _stamp(files)
            before, self._seen[files.name] = self._seen.get(files.name), stamp
            if stamp != self._read.get(files.name) and (not settled or stamp == before):
                self._read[files.name] = stamp
                found.append(_read(files))
        return found


def _stamp(files: SecretFiles) -> Stamp:
    paths = (files.certificate_file, files.key_file, files.ca_file)
    return (*(_stat(path) for path in paths if path), (hash(paths), 0, 0, 0))


def _stat(path: str) -> tuple[int, int, int, int] | None:
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def _read(files: SecretFiles) -> Secret | SecretFault:
    parts = []
    for path in (files.certificate_file, files.key_file, files.ca_file):
        try:
            parts.append(_read_file(path) if path else b"")
        except OSError as error:
            return SecretFault(files.name, f"{path} can't be read: {(error.strerror or str(error)).lower()}")
    return Secret(files.name, *parts)


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError("it is larger than 1 MiB")
    return content
