"""What the command line tells a proxy. Frozen, passed in, never imported."""

from typing import Literal, NamedTuple

import msgspec

from turnout.proxy.net.options import Options


class Address(NamedTuple):
    """A host (IP literal or name) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ProxyOptions(msgspec.Struct, frozen=True):
    """All of `turnout proxy` but where its rules come from. The drain timeout is `worker.drain_timeout_s`.

    `listen` is the default listener's address, and its host that of every listener that names none; port 0
    lets the kernel choose.
    """

    listen: Address = Address("127.0.0.1", 8080)
    admin: Address = Address("127.0.0.1", 9901)
    workers: int = 1
    worker: Options = Options()
    max_memory_bytes: int = 0
    """What the supervisor and all workers may have together; 0: what the control group or the machine has."""
    listen_wins: bool = False
    """Whether `listen` is the address of a configuration's only listener, whatever that one says."""
    wait_for_better: bool = False
    """Whether a first configuration that can't serve is not the end: a control plane may push a better one, while
    files stay wrong until somebody is told."""
    dns_refresh_s: float = 5.0
    """Envoy's `dns_refresh_rate` default."""
    trace_slow_s: float = 1.0
    """Where spans are exported, an answer that takes this long to begin has some, whatever was decided."""
    log_level: str = "info"
    log_format: Literal["text", "json"] = "text"
