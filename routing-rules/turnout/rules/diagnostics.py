"""What is said about a rule document: an error or a warning, and the place that it is about."""

from typing import Literal

import msgspec

from turnout.rules.snapshot import Origin


class Diagnostic(msgspec.Struct, frozen=True):
    """One finding. `code` is a stable word for machines, like `unknown-field` or `shadowed-rule`."""

    severity: Literal["error", "warning"]
    origin: Origin
    code: str
    message: str

    def __str__(self) -> str:
        # FILE:LINE first, as compilers write it: editors and terminals make a link of that.
        place = f"{self.origin.path}: " if self.origin.path else ""
        return f"{self.origin.file}:{self.origin.line}: {self.severity}: {place}{self.message} [{self.code}]"
