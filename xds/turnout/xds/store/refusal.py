"""Why a change is not taken: one exception with a code, which the API turns into a status."""

from typing import Literal, TypeAlias

from turnout.rules.diagnostics import Diagnostic

Code: TypeAlias = Literal["invalid", "conflict", "not-found", "ambiguous"]


class Refusal(Exception):
    """Nothing was changed. `findings` say what is wrong with documents, each with its place."""

    def __init__(self, code: Code, message: str, findings: tuple[Diagnostic, ...] = ()) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.findings = findings
