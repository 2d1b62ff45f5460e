"""What a client wants of one type (xDS protocol, "How the client specifies what resources to return").

A wildcard is asked for as `*`; or, the legacy way, by naming nothing as long as nothing was ever named on the stream.
The legacy way is for listeners and clusters only: for the other types naming nothing means wanting nothing.
"""

from collections.abc import Collection

from turnout.xds.resources import CLUSTER, LISTENER, Resource

WILDCARD = "*"
LEGACY_TYPES = frozenset({CLUSTER, LISTENER})

MAX_NAMES = 20_000
"""Names that one client may ask for, of one type."""
MAX_NAME = 2048
MAX_CHARACTERS = 2 << 20
"""Of the names of one type together."""


class BadRequest(ValueError):
    """A request that ends the stream: it breaks the protocol, or a limit."""


class Subscription:
    """`names` are those asked for by name; `wildcard` whether the server is to choose."""

    __slots__ = ("_explicit", "_legacy", "names", "wildcard")

    def __init__(self, type_url: str) -> None:
        self.names: set[str] = set()
        self.wildcard = False
        self._explicit = False
        self._legacy = type_url in LEGACY_TYPES

    def takes(self, resource: Resource) -> bool:
        """Whether this resource is wanted."""
        return resource.name in self.names or (self.wildcard and resource.wildcard)

    def replace(self, names: Collection[str]) -> tuple[set[str], set[str]]:
        """State of the world: these are all. What is wanted newly, and what is not any longer; `*` stands for itself.

        Raises BadRequest.
        """
        wanted = check_names(names)
        if wanted:
            self._explicit = True
        elif self._legacy and not self._explicit:
            wanted = {WILDCARD}
        before = self._all()
        self.wildcard = WILDCARD in wanted
        self.names = wanted - {WILDCARD}
        return wanted - before, before - wanted

    def edit(
        self, subscribe: Collection[str], unsubscribe: Collection[str], *, first: bool
    ) -> tuple[set[str], set[str]]:
        """Delta: what is asked for, known before or not, and what was known and is not wanted any longer.

        A name that is in both lists stays. Raises BadRequest.
        """
        asked = check_names(subscribe)
        dropped = (check_names(unsubscribe) - asked) & self._all()
        if asked:
            self._explicit = True
        elif first and not unsubscribe and self._legacy:
            asked = {WILDCARD}
        wanted = check_names((self._all() - dropped) | asked) if asked else self._all() - dropped
        self.wildcard = WILDCARD in wanted
        self.names = wanted - {WILDCARD}
        return asked, dropped

    def _all(self) -> set[str]:
        return self.names | {WILDCARD} if self.wildcard else set(self.names)


def check_names(names: Collection[str]) -> set[str]:
    """The names as a set. Raises BadRequest for too many or too much, and for one that is too long or empty."""
    if len(names) > MAX_NAMES:
        raise BadRequest(f"more than {MAX_NAMES} names of one type")
    found = set(names)
    if "" in found:
        raise BadRequest("an empty resource name")
    sizes = list(map(len, found))
    if max(sizes, default=0) > MAX_NAME:
        raise BadRequest(f"a resource name of more than {MAX_NAME} characters")
    if sum(sizes) > MAX_CHARACTERS:
        raise BadRequest(f"names of one type of more than {MAX_CHARACTERS} characters")
    return found
