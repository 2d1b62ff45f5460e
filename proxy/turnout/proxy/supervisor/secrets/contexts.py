"""TLS of active checks: they see of endpoints, and show them, what requests do."""

import logging
import ssl
from typing import NamedTuple

from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.proxy.supervisor.secrets.store import SecretStore
from turnout.rules.snapshot import Cluster, Protocol
from turnout.rules.source import Secret
from turnout.rules.tls import UpstreamTls

logger = logging.getLogger(__name__)


class _Made(NamedTuple):
    config: UpstreamTls
    protocol: Protocol
    secrets: tuple[Secret | None, ...]
    context: UpstreamContext | None


class CheckContexts:
    """Of clusters, made when they are first asked for, and anew when what they were made of has changed."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._made: dict[str, _Made] = {}

    def find(self, cluster: Cluster) -> UpstreamContext | None:
        """None: the endpoints speak no TLS. Raises ssl.SSLError if what there is can't be used."""
        config = cluster.tls
        if config is None:
            self._made.pop(cluster.name, None)
            return None
        secrets = self._store.secrets
        used = tuple(secrets.get(name) for name in (config.certificate, config.ca))
        # What agrees on its protocol is asked in HTTP/1.1.
        protocol: Protocol = "h2" if cluster.protocol == "h2" else "http1"
        made = self._made.get(cluster.name)
        if made is None or (made.config, made.protocol, made.secrets) != (config, protocol, used):
            try:
                context = UpstreamContext(config, secrets, protocol)
                made = self._made[cluster.name] = _Made(config, protocol, used, context)
            except (KeyError, ValueError) as error:
                raise ssl.SSLError(f"the certificate {error} is not there, or can't be used") from None
        return made.context
