"""What a collector says of a batch that it took (opentelemetry-proto, `ExportTraceServiceResponse`).

It may have rejected some of the spans and answer 200 all the same: `partialSuccess` says how many and why. It may also
have something to say without rejecting any (OTLP specification, Partial Success). Whoever sends must not try again.
"""

import msgspec

MAX_BYTES = 65_536
"""Of an answer that is looked into."""
MAX_MESSAGE = 512
"""Characters of its message that are told."""


class Answer(msgspec.Struct, frozen=True):
    """How the collector took a batch: not at all, or all but `rejected` of it. `why` is its word on what it did not
    take, or why it could not be asked; empty if there is none."""

    taken: bool
    rejected: int = 0
    why: str = ""


class _Partial(msgspec.Struct, rename="camel"):
    rejected_spans: int = 0
    error_message: str = ""


class _Response(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


# Not strict: JSON of protobuf has 64-bit numbers as strings, and takes them as numbers too.
_decode = msgspec.json.Decoder(_Response, strict=False).decode


def read_answer(body: bytes, spans: int) -> Answer:
    """What the body of an answer of 200 to so many spans says. One that cannot be read has taken all: it is not ours to
    guess."""
    if not body or len(body) > MAX_BYTES:
        return Answer(taken=True)
    try:
        partial = _decode(body).partial_success
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Answer(taken=True)
    if partial is None:
        return Answer(taken=True)
    return Answer(True, min(max(partial.rejected_spans, 0), spans), partial.error_message[:MAX_MESSAGE])
