"""Which traces are recorded: the samplers of OpenTelemetry, decided without its SDK (`OTEL_TRACES_SAMPLER`).

A share of the traces is those whose lower 64 bits of the id are below a bound, as in the SDK for Python: all who
sample the same share of a trace decide alike. Hex digits in lower case sort as the numbers that they write, so bytes
are compared with bytes.
"""

import msgspec

NONE, ALL = b"", b"g"
"""Below the first there is nothing; every hex digit is below the second."""
_LIMIT = 1 << 64

NAMES = ("always_on", "always_off", "traceidratio")
PARENT_BASED = "parentbased_"
ALL_NAMES = (*NAMES, *(PARENT_BASED + name for name in NAMES))


class Sampler(msgspec.Struct, frozen=True):
    """`parent_based`: a request that comes with a trace is decided on by what that says; `bound` decides on the rest,
    or on all: sampled is what has the last 16 hex digits of its trace id below it."""

    parent_based: bool
    bound: bytes

    def takes(self, trace_id: bytes) -> bool:
        """Whether a trace that starts here is sampled; 32 hex digits."""
        return trace_id[16:] < self.bound


def make_sampler(name: str, ratio: float) -> Sampler:
    """The sampler of that name, one of ALL_NAMES; `ratio`, from 0 to 1, is for `traceidratio` alone."""
    kind = name.removeprefix(PARENT_BASED)
    bounds = {"always_on": ALL, "always_off": NONE, "traceidratio": bound_of(ratio)}
    return Sampler(kind != name, bounds[kind])


def bound_of(ratio: float) -> bytes:
    """What the last 16 hex digits of a trace id have to be below, for that share of all."""
    bound = round(ratio * _LIMIT)
    return ALL if bound >= _LIMIT else b"%016x" % bound
