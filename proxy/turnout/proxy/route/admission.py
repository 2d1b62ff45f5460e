"""Whom a route takes: the identities that its virtual host allows, and those that itself does; both have to."""

from collections.abc import Sequence

from turnout.rules.identities import Identities


class Admission:
    """Of one route that not everybody may ask."""

    __slots__ = ("_sets", "patterns")

    def __init__(self, sets: Sequence[Sequence[str]]) -> None:
        self.patterns = tuple(tuple(patterns) for patterns in sets)
        """Those of each set, as they were written."""
        self._sets = tuple(Identities(patterns) for patterns in sets)

    def takes(self, identity: str) -> bool:
        """Whether a client of that identity (empty: of none) may ask."""
        return all(identities.takes(identity) for identities in self._sets)


def compile_admission(of_host: Sequence[str], of_route: Sequence[str]) -> Admission | None:
    """None: everybody may."""
    sets = [patterns for patterns in (of_host, of_route) if patterns]
    return Admission(sets) if sets else None
