"""How a new configuration comes to serve: whole or not at all.

The steps: certificates read → names resolved, then endpoints checked, where that was asked for (a while is given to
those never seen before) → new ports bound → endpoints and Snapshot sent to every worker → all acknowledge → listeners
swapped → it is the one that serves. A step that fails leaves the old one serving: nothing is closed before the last
step, and workers that had taken the new Snapshot get the old one back.
"""

import asyncio
import logging

import msgspec

from turnout.proxy.supervisor.dns import Lookup, Resolver
from turnout.proxy.supervisor.endpoints import addresses_of, clusters_of, dns_names, resolve
from turnout.proxy.supervisor.pool import Pool
from turnout.proxy.supervisor.secrets.files import FileSecrets
from turnout.proxy.supervisor.secrets.store import SecretStore
from turnout.proxy.supervisor.sockets import BindError, Change, Sockets
from turnout.proxy.supervisor.state import State
from turnout.proxy.supervisor.states.states import States
from turnout.proxy.telemetry.layout import Layout, route_keys
from turnout.proxy.worker.messages import Configure
from turnout.rules.snapshot import Cluster, Listener, Snapshot
from turnout.rules.source import Loaded, Rejected

logger = logging.getLogger(__name__)

WARM_TIMEOUT_S = 5.0
"""How long a new configuration waits for the first answer about its names, and then for the first checks of its
endpoints; after that it serves 503 for them."""
CONFIGURE_TIMEOUT_S = 30.0
"""How long workers may take to judge a Snapshot."""


class SecretsMissing(Exception):
    """Certificates that a configuration names and that there are no good ones of."""


class Configuration:
    """Applies updates to sockets and workers, and keeps the endpoints of what serves up to date."""

    def __init__(
        self,
        state: State,
        layout: Layout,
        sockets: Sockets,
        pool: Pool,
        states: States,
        lookup: Lookup,
        secrets: SecretStore,
        files: FileSecrets,
        dns_refresh_s: float,
        listen_wins: bool = False,
        has_predecessor: bool = False,
        warm_timeout_s: float = WARM_TIMEOUT_S,
    ) -> None:
        self.resolver = Resolver(lookup, dns_refresh_s, self._on_resolved)
        self._state = state
        self._layout = layout
        self._sockets = sockets
        self._pool = pool
        self._states = states
        self._secrets = secrets
        self._files = files
        self._told: dict[str, Cluster] = {}
        self._listen_wins = listen_wins
        self._has_predecessor = has_predecessor
        self._warm_timeout_s = warm_timeout_s
        self._number = 0
        self._changing = False

    async def apply(self, update: Loaded | Rejected) -> None:
        """Take an update, or say in log and state why not. Updates come one after the other."""
        if isinstance(update, Rejected):
            for error in update.errors:
                logger.error("%s", error)
            self._state.refused("the rules have errors", update.errors)
        else:
            for warning in update.warnings:
                logger.warning("%s", warning)
            self._changing = True
            try:
                await self._serve(update)
            except (BindError, SecretsMissing) as error:
                logger.error("%s", error)
                self._state.refused(str(error))
                served = self._state.served
                if served:
                    await self._load_secrets(served.loaded)
                self._settle(served.loaded.snapshot if served else Snapshot())
            finally:
                self._changing = False
        if self._state.last_error is not None and self._state.served is not None:
            logger.error("not reloaded, version %s serves on", self._state.served.version)

    def close(self) -> None:
        """Stop asking for names."""
        self.resolver.keep_only(set())

    async def _serve(self, loaded: Loaded) -> None:
        snapshot = loaded.snapshot
        await self._load_secrets(loaded)
        missing = self._secrets.why_missing(snapshot.secrets())
        if missing:
            raise SecretsMissing("; ".join(missing))
        await self.resolver.follow(dns_names(snapshot.clusters), self._warm_timeout_s)
        for cluster in snapshot.clusters:
            self._states.configure(cluster)
            self._states.add(cluster.name, addresses_of(cluster, self.resolver))
        await self._states.first_checks((c.name for c in snapshot.clusters), self._checks_timeout_s(snapshot))
        change = self._sockets.prepare(self._placed(snapshot.listeners))
        version = snapshot.version()
        error = await self._configure(snapshot, version)
        if error:
            self._sockets.abandon(change)
            await self._go_back(error)
            return
        self._swap_listeners(change)
        self._state.accepted(loaded, version, self._number)
        self._settle(snapshot)
        addresses = ", ".join(str(bound.address) for bound in self._sockets.listeners.values())
        logger.info("version %s serves on %s", version, addresses)

    async def _load_secrets(self, loaded: Loaded) -> None:
        """Before anything names them. What can't be used is told, and changes nothing."""
        for update in (*await self._files.follow(loaded.secrets), *loaded.told_secrets):
            self._secrets.offer(update)

    def _checks_timeout_s(self, snapshot: Snapshot) -> float:
        """How long to wait for first checks. While a predecessor serves, there is time for all of one to its end."""
        if not self._has_predecessor or self._state.served is not None:
            return self._warm_timeout_s
        checks = [cluster.health_check for cluster in snapshot.clusters if cluster.health_check is not None]
        return max((c.timeout_s + (c.warm_timeout_s if c.warms else 0.0) for c in checks), default=0.0)

    def _placed(self, listeners: tuple[Listener, ...]) -> tuple[Listener, ...]:
        """The listeners where they are to be: the only one at `--listen`, if that was said."""
        if not self._listen_wins:
            return listeners
        if len(listeners) > 1:
            logger.warning("--listen is for one listener, and there are %d: each keeps its address", len(listeners))
            return listeners
        return tuple(msgspec.structs.replace(listener, address="", port=0) for listener in listeners)

    async def _configure(self, snapshot: Snapshot, version: str) -> str:
        """Send a Snapshot and wait for all workers; why it was not taken, or empty."""
        for cluster in snapshot.clusters:
            self._states.configure(cluster)
            self._tell(cluster)
        self._number += 1
        records = self._layout.allot(route_keys(snapshot))
        self._pool.configure(Configure(self._number, msgspec.Raw(snapshot.encode()), version, records))
        try:
            async with asyncio.timeout(CONFIGURE_TIMEOUT_S):
                return await self._pool.configured(self._number)
        except TimeoutError:
            return f"workers did not take it within {CONFIGURE_TIMEOUT_S:g} s"

    async def _go_back(self, error: str) -> None:
        logger.error("workers refused the configuration: %s", error)
        self._state.refused(f"workers refused it: {error}")
        served = self._state.served
        if served is not None:
            # A worker that had taken the new one may have dropped what only the old one names.
            self._pool.keep_only(set())
            await self._load_secrets(served.loaded)
            await self._configure(served.loaded.snapshot, served.version)
            self._settle(served.loaded.snapshot)

    def _swap_listeners(self, change: Change) -> None:
        for name in change.removed:
            self._pool.unlisten(name)
        for bound in change.added:
            self._pool.listen(bound)
        self._sockets.commit(change)

    def _settle(self, snapshot: Snapshot) -> None:
        """Forget what no longer serves, and catch up with answers that came while workers were asked."""
        self.resolver.keep_only(dns_names(snapshot.clusters))
        names = {cluster.name for cluster in snapshot.clusters}
        self._pool.keep_only(names)
        self._states.keep_only(names)
        self._secrets.keep_only(snapshot.secrets())
        for name in self._told.keys() - names:
            del self._told[name]
        for cluster in snapshot.clusters:
            self._keep(cluster)

    def _on_resolved(self, host: str) -> None:
        served = self._state.served
        for cluster in clusters_of(served.loaded.snapshot, host) if served else ():
            # While a new configuration is on its way, the endpoints of both are needed.
            (self._tell if self._changing else self._keep)(cluster)

    def on_states(self, name: str) -> None:
        """Endpoints of that cluster are in other states."""
        cluster = self._told.get(name)
        if cluster is not None:
            self._tell(cluster)

    def _keep(self, cluster: Cluster) -> None:
        """These and no others are the cluster's endpoints."""
        self._states.configure(cluster)
        self._states.keep(cluster.name, addresses_of(cluster, self.resolver))
        self._tell(cluster)

    def _tell(self, cluster: Cluster) -> None:
        """Tell workers of a cluster's endpoints as they are now."""
        self._told[cluster.name] = cluster
        addresses = addresses_of(cluster, self.resolver)
        self._states.add(cluster.name, addresses)
        self._pool.resolve(resolve(cluster, addresses, self._layout, self._states.standing))
