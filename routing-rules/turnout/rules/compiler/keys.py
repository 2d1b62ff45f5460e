"""What of a request is hashed: `splitBy` of a RoutePolicy, `hashOn` of a Predictor."""

from turnout.rules.documents.balancing import HashOn, SplitKey
from turnout.rules.resilience import HashKey


def compile_key(written: SplitKey | None) -> HashKey | None:
    """The key; exactly one of its fields was found to be there."""
    if written is None:
        return None
    if written.header is not None:
        return HashKey("header", written.header.lower())
    if written.cookie is not None:
        return HashKey("cookie", written.cookie)
    return HashKey("model" if isinstance(written, HashOn) and written.model else "source_address")
