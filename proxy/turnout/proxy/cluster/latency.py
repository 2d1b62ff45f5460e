"""First-byte times of an endpoint, as words in its counter record: written at each answer, compared in the supervisor.

Rules:

* Times are kept apart by the size of the request's body, since a long prompt takes longer than a short one on any GPU.
  The classes are powers of two: even where the time grows with the size, two requests of a class differ by less than a
  factor of two, so that which endpoint got the longer ones can't look like the factor of three of a slow GPU. The last
  class has no upper bound: what is in it is not compared.
* What is added up are logarithms. First-byte times are skewed, and a mean of logarithms is not ruled by the longest;
  that an endpoint is so many times slower is a difference of such means, the same for short and for long requests.
* A class is three words, its *cell*: the count, the sum and the sum of squares of log2(µs), in units of 1 / `STEPS`.
  They only grow; means over a time come from differences of two readings.
"""

from collections.abc import Sequence
from math import log2
from typing import Final

CLASSES: Final = 20
"""Below 256 B, below 512 B, …, 64 MiB and more."""
CELL_WORDS: Final = 3
CELLS_WORDS: Final = CLASSES * CELL_WORDS
STEPS: Final = 256
"""Steps per doubling: 0.3 %."""

Cells = dict[int, tuple[int, int, int]]
"""(count, sum, sum of squares) by size class, where there were any requests."""

_SMALLEST_BITS: Final = 8
_CLASS_OF_BITS: Final = tuple(min(max(0, bits - _SMALLEST_BITS), CLASSES - 1) for bits in range(65))


def size_class(body_bytes: int) -> int:
    """The class, 0 to `CLASSES` - 1, of a request with a body of so many bytes (below 2⁶⁴)."""
    return _CLASS_OF_BITS[body_bytes.bit_length()]


def record_latency(words: memoryview, base: int, first_byte_s: float) -> None:
    """Add a first-byte time in seconds to the cell that begins at `base`; one of 0 or less is none."""
    if first_byte_s > 0.0:
        value = int(log2(first_byte_s * 1e6) * STEPS) if first_byte_s > 1e-6 else 0
        words[base] += 1
        words[base + 1] += value
        words[base + 2] += value * value


def load_cells(words: Sequence[int]) -> Cells:
    """Read the `CELLS_WORDS` words of a record, or their growth over a time; without the last class."""
    found: Cells = {}
    for which in range(CLASSES - 1):
        base = which * CELL_WORDS
        if words[base] > 0:
            found[which] = words[base], words[base + 1], words[base + 2]
    return found


def count(cells: Cells) -> int:
    """The requests of all classes."""
    return sum(cell[0] for cell in cells.values())


def seconds(steps: float) -> float:
    """The time that a mean of logarithms stands for: the geometric mean."""
    return float(2.0 ** (steps / STEPS) * 1e-6)
