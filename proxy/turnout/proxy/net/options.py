"""What the command line says that a worker needs."""

import msgspec

from turnout.proxy.telemetry.trace.sampler import Sampler


class TraceOptions(msgspec.Struct, frozen=True):
    """What is recorded of requests. `formats` are those of a trace's context that are spoken, in the order in which
    they are believed (`filters.trace_context`); an answer that takes `slow_s` to begin is recorded, whatever was
    decided."""

    sampler: Sampler
    formats: tuple[str, ...]
    slow_s: float


class Options(msgspec.Struct, frozen=True):
    """Durations in seconds, sizes in bytes. `access_log`: a path, `-` for standard output, or `off`.

    `max_connections` are those of clients, of the whole proxy; `max_memory_bytes` is this worker's share of its memory,
    0 for no limit. Without `tracing` no request is recorded.
    """

    trusted: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    access_log: str = "-"
    access_log_format: str = "json"
    head_timeout_s: float = 15.0
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0
    downstream_idle_timeout_s: float = 3600.0
    drain_timeout_s: float = 30.0
    max_head_bytes: int = 65_536
    max_connections: int = 16_384
    max_memory_bytes: int = 0
    tracing: TraceOptions | None = None
