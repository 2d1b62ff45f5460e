"""Regular expressions from rules: RE2, whole match, on bytes, with bounded memory.

The one place that knows the options, so that what validates is what the data plane runs. RE2 is imported when
the first expression is met: most rules have none.
"""

from typing import Protocol, cast

MAX_MEM_BYTES = 1 << 20
"""Bound of a compiled expression's program and caches; about 20 times Envoy's 100-instruction warning level."""


class Pattern(Protocol):
    """What is used of a compiled expression."""

    def fullmatch(self, text: bytes) -> object | None:
        """A truthy match object if the whole of `text` matches."""
        ...


def compile_regex(value: str) -> Pattern:
    """Compile an RE2 expression. Raises ValueError with RE2's reason if it refuses."""
    import re2

    options = re2.Options()
    # Header values are bytes in no certain encoding; as Latin-1 every byte is a character, and `.*` takes them all.
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = MAX_MEM_BYTES
    options.log_errors = False
    try:
        return cast(Pattern, re2.compile(value.encode(), options))
    except re2.error as exc:
        reason = exc.args[0] if exc.args else exc
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"not an RE2 expression: {text}") from exc
