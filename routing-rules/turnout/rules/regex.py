"""Regular expressions from rules: RE2, whole match, on bytes, with bounded memory.

The one place that knows the options, so that what validates is what the data plane runs. RE2 is imported when
the first expression is met: most rules have none.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

MAX_MEM_BYTES = 1 << 20
"""Bound of a compiled expression's program and caches; about 20 times Envoy's 100-instruction warning level."""
MAX_SET_MEM_BYTES = 8 << 20
"""The same of a set, RE2's own default."""


class Pattern(Protocol):
    """What is used of a compiled expression."""

    def fullmatch(self, text: bytes) -> object | None:
        """A truthy match object if the whole of `text` matches."""
        ...


def compile_regex(value: str) -> Pattern:
    """Compile an RE2 expression. Raises ValueError with RE2's reason if it refuses."""
    import re2

    try:
        return cast(Pattern, re2.compile(value.encode(), _options(MAX_MEM_BYTES)))
    except re2.error as exc:
        reason = exc.args[0] if exc.args else exc
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"not an RE2 expression: {text}") from exc


class PatternSet:
    """Many expressions asked at once: the cost of an answer does not grow with their number.

    RE2's set says "none" when its automaton does not fit the memory. So an expression that matches everything is the
    last of each set: where it is not among the answers, or the set can't be made, each expression is asked by itself.
    """

    def __init__(self, values: Sequence[str]) -> None:
        import re2

        self._patterns = [compile_regex(value) for value in values]
        self._set = re2.Set.FullMatchSet(_options(MAX_SET_MEM_BYTES))
        for value in (*values, "(?s).*"):
            self._set.Add(value.encode())
        try:
            self._set.Compile()
        except re2.error:
            self._set = None

    def fullmatch(self, text: bytes) -> list[int]:
        """The positions of the expressions that match the whole of `text`, in ascending order."""
        if self._set is not None:
            found: list[int] = sorted(self._set.Match(text))
            if found and found[-1] == len(self._patterns):
                return found[:-1]
        return [at for at, pattern in enumerate(self._patterns) if pattern.fullmatch(text)]


def _options(max_mem_bytes: int) -> Any:
    import re2

    options = re2.Options()
    # Header values are bytes in no certain encoding; as Latin-1 every byte is a character, and `.*` takes them all.
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = max_mem_bytes
    options.log_errors = False
    return options
