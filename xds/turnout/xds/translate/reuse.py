"""What was made of the pieces of one Snapshot, for the next one, which has most of them, too.

A piece is found again by its *place* (a name), and is used if its *source* is equal to what stood there before; else it
is made. It may be made of pieces of its own, so a change in one virtual host of 500 makes one, and puts 500 together.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar, TypeVarTuple

T = TypeVar("T")
Source = TypeVarTuple("Source")


class Piece(NamedTuple):
    """Something that was made, of what, and the pieces in it."""

    source: tuple[object, ...]
    made: Any
    inner: "Pieces"


Pieces: TypeAlias = Mapping[Hashable, Piece]
"""By place. Never changed once whoever collected them is done."""


class Reuse:
    """Takes from `before` what is the same, and collects in `pieces` what all was made of this time."""

    def __init__(self, before: Pieces | None = None) -> None:
        self._before: Pieces = before or {}
        self.pieces: dict[Hashable, Piece] = {}

    def take(self, place: Hashable, make: Callable[["Reuse", *Source], T], *source: *Source) -> T:
        """What was made of an equal source at this place, or what `make` gives now. Nobody may change it."""
        piece = self._before.get(place)
        if piece is None or piece.source != source:
            inner = Reuse(piece.inner if piece else None)
            piece = Piece(source, make(inner, *source), inner.pieces)
        self.pieces[place] = piece
        made: T = piece.made
        return made
