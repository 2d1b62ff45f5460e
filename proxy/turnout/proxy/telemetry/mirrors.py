"""The numbers of mirrors: of each request that was to be copied what became of the copy.

A request is *eligible* for a mirror if its route has it and its share took the request. Then it is mirrored, or skipped
for one of the reasons of `Skip`; what was mirrored has one of the ends of `ShadowEnd`, or is still in flight. So

    eligible = mirrored + skipped,    mirrored = active + answered + all other ends

at every moment at which no worker is between two of these additions.
"""

from enum import IntEnum

from turnout.proxy.telemetry.layout import CODE_CLASSES, GRPC_STATUSES, HISTOGRAM_WORDS, RECORD_WORDS


class Skip(IntEnum):
    """Why there is no copy of an eligible request. The number is a slot in the counters."""

    MISSING = 1
    """Nothing has the name that the mirror gives, or the control plane has not told of it yet."""
    UPGRADE = 2
    """It becomes a tunnel: CONNECT, a WebSocket."""
    SHADOW = 3
    """It is a copy itself."""
    LIVE = 4
    """The predictor that answers is in trouble: `pauseAbove`."""
    SHUTDOWN = 5
    """The proxy is about to end."""
    MEMORY = 6
    """The worker is short of memory."""
    BODY = 7
    """The worker's room for bodies that wait for shadows is used up."""
    LIMIT = 8
    """Too many are in flight: `maxRequests`, or as many as the worker has descriptors for."""
    RATE = 9
    """Too many have begun: `rateLimit`."""
    BREAKER = 10
    """The copies before it all failed (`shadow.breaker`), or a limit of the mirror's predictor is reached."""
    NO_ENDPOINT = 11
    """The mirror's predictor has no endpoint that may be used."""
    FAULT = 12
    """Something of ours went wrong, which is told in the log."""


class ShadowEnd(IntEnum):
    """How a copy ended. An answer that came whole is counted by its class, the others by this slot."""

    ANSWERED = 0
    CONNECT_FAILED = 1
    RESET = 2
    """The connection, or the stream, ended before the answer was whole."""
    MALFORMED = 3
    TIMEOUT = 4
    SLOW = 5
    """It fell too far behind the request."""
    ABANDONED = 6
    """The request itself did not come whole."""
    SHUTDOWN = 7
    FAULT = 8
    """Something of ours went wrong, which is told in the log."""


class MirrorWord(IntEnum):
    """Offsets in the record ("mirror", route, cluster)."""

    ACTIVE = 0
    ELIGIBLE = 1
    MIRRORED = 2
    BYTES_SENT = 3
    """Of bodies."""
    BYTES_RECEIVED = 4
    SKIPPED = 8
    ENDS = 24
    ANSWERS = 40
    """By class of the status."""
    GRPC = 48
    """Answered calls of gRPC, by status."""
    FIRST_BYTE = 72
    """From the last byte of the request to the head of the answer."""
    TOTAL = FIRST_BYTE + HISTOGRAM_WORDS
    """From the last byte of the request to the last of the answer."""
    BUCKET = RECORD_WORDS - 1
    """Of the rate limit."""


class LiveWord(IntEnum):
    """Offsets in the record ("live", route, cluster): what `pauseAbove.p99` looks at, of the cluster that answers."""

    ASKED = 0
    LATE = 1
    """Of those asked, how many waited longer than the bound for the first byte."""


assert max(Skip) < MirrorWord.ENDS - MirrorWord.SKIPPED
assert max(ShadowEnd) < MirrorWord.ANSWERS - MirrorWord.ENDS
assert len(CODE_CLASSES) <= MirrorWord.GRPC - MirrorWord.ANSWERS
assert MirrorWord.GRPC + GRPC_STATUSES <= MirrorWord.FIRST_BYTE
assert MirrorWord.TOTAL + HISTOGRAM_WORDS <= MirrorWord.BUCKET
