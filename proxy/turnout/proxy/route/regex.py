"""Regular expressions from rules: RE2, on bytes, matching the whole value (Envoy's `safe_regex`)."""

from collections.abc import Callable


def compile_regex(pattern: str) -> Callable[[bytes], object]:
    """A function that answers whether all of a value matches. The pattern was accepted when the rules were loaded.

    RE2 is loaded with the first pattern: most rule sets have none, and it costs memory.
    """
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    compiled = re2.compile(pattern.encode(), options)
    fullmatch: Callable[[bytes], object] = compiled.fullmatch
    return fullmatch
