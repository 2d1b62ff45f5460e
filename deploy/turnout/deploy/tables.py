"""Tables as text."""

from collections.abc import Sequence


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they must be, with two blanks between them."""
    lines = [head, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def plain(text: str) -> str:
    """Text of strangers, such that a terminal obeys nothing in it."""
    return text if text.isprintable() else repr(text)
