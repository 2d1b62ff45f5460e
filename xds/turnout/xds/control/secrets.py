"""What Certificates name, read from their files for the proxies that need it. It is in memory only: states, history and
API have the names of files.

A file that can't be read leaves what was read of it last. Certificate and key are two files and change one after the
other, so a change counts once two looks in a row have found the same.
"""

import logging
from collections.abc import Iterable, Mapping

from turnout.rules.source import Secret, SecretFiles

logger = logging.getLogger(__name__)

POLL_S = 0.5
MAX_BYTES = 1 << 20
"""A bundle of all CAs of the world is a quarter of it."""

Contents = Mapping[SecretFiles, Secret]


class SecretReader:
    """Reads files of secrets, and says once what is wrong with one."""

    def __init__(self) -> None:
        self._faults: dict[SecretFiles, str] = {}

    def read(self, files: Iterable[SecretFiles], before: Contents) -> dict[SecretFiles, Secret]:
        """What is in them now; of what can't be read what it was before, if it was. Blocks."""
        found: dict[SecretFiles, Secret] = {}
        for one in files:
            try:
                found[one] = Secret(one.name, *map(_read, (one.certificate_file, one.key_file, one.ca_file)))
                self._faults.pop(one, None)
            except OSError as error:
                self._say(one, f"{error.filename or one.name} can't be read: {error.strerror or error}")
                if one in before:
                    found[one] = before[one]
        return found

    def _say(self, files: SecretFiles, fault: str) -> None:
        if self._faults.get(files) != fault:
            self._faults[files] = fault
            logger.error("certificate %s: %s", files.name, fault)


def _read(path: str) -> bytes:
    if not path:
        return b""
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(0, "it is larger than 1 MiB", path)
    return content
