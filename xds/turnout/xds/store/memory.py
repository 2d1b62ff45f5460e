"""What nodes have refused, remembered over reconnects and restarts, so that it is not sent to them again.

* Of a node, type and name, only the newest rejected version is kept: whatever comes later has another version.
* Looking is a dictionary's look-up; writing is behind: `flush` is called now and then, in a thread. What a crash loses
  is sent once more and refused once more, no worse.
* Bounded, since node ids come from the network: the oldest go first.
"""

from turnout.xds.store.store import Rejection, Store

MAX_REJECTIONS = 10_000
MAX_NAME = 512
"""Characters of a node id or name; those of longer ones are not remembered."""


class RejectionMemory:
    """`turnout.xds.server`'s Memory over a Store. Not for several threads, but for `write`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = {(x.node, x.type_url, x.name): x.version for x in store.rejections()}
        self._gone: set[tuple[str, str, str]] = set()
        self._new: set[tuple[str, str, str]] = set()

    def is_rejected(self, node_id: str, type_url: str, name: str, version: str) -> bool:
        """Whether this node has refused this version."""
        return self._known.get((node_id, type_url, name)) == version

    def reject(self, node_id: str, type_url: str, name: str, version: str) -> None:
        """Remember that the node has refused it."""
        key = (node_id, type_url, name)
        if max(len(node_id), len(name)) > MAX_NAME or self._known.get(key) == version:
            return
        self._known.pop(key, None)
        self._known[key] = version
        self._gone.discard(key)
        self._new.add(key)
        while len(self._known) > MAX_REJECTIONS:
            self._forget(next(iter(self._known)))

    def forgive(self, node_id: str, type_url: str, name: str) -> None:
        """Forget it: the node has taken another version."""
        key = (node_id, type_url, name)
        if key in self._known:
            self._forget(key)

    def has_news(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._gone or self._new)

    def take_news(self) -> tuple[list[Rejection], list[Rejection]]:
        """What went and what came since the last call, for `Store.write_rejections`."""
        gone = [Rejection(*key, "") for key in self._gone]
        new = [Rejection(*key, self._known[key]) for key in self._new]
        self._gone.clear()
        self._new.clear()
        return gone, new

    def _forget(self, key: tuple[str, str, str]) -> None:
        del self._known[key]
        self._new.discard(key)
        self._gone.add(key)
