"""The last good Snapshot on disk, so that a restart with the control plane away serves at once.

The file is one line that tells what it is, then the SHA-256 of the rest, then the Snapshot. It is written beside its
place and moved there, so a crash leaves the old one or the new one; what is not as it was written is not used.
"""

import contextlib
import hashlib
import os

import msgspec

from turnout.rules.snapshot import Snapshot, decode_snapshot

MAGIC = b"turnout snapshot 1\n"
DIGEST_BYTES = 32
MAX_BYTES = 256 * 1024 * 1024


class CacheError(Exception):
    """The file can't be used or written; the text says why."""


def load_snapshot(path: str) -> Snapshot | None:
    """What `save_snapshot` wrote; None if there is no file. Raises CacheError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"{path} can't be read: {error.strerror}") from error
    body = data[len(MAGIC) + DIGEST_BYTES :]
    if not data.startswith(MAGIC) or hashlib.sha256(body).digest() != data[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]:
        raise CacheError(f"{path} is not a whole Snapshot of this version of Turnout")
    try:
        snapshot = decode_snapshot(body)
        snapshot.check()
    except (msgspec.DecodeError, ValueError) as error:
        raise CacheError(f"{path} is not a Snapshot of this version of Turnout: {error}") from error
    return snapshot


def save_snapshot(path: str, snapshot: Snapshot) -> None:
    """Replace the file, for nobody else's eyes. Raises CacheError."""
    body = snapshot.encode()
    # A process that is killed while it writes leaves one file at most, and its successor in a hot restart has another.
    fresh = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(MAGIC + hashlib.sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise CacheError(f"{path} can't be written: {error.strerror}") from error
