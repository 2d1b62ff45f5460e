"""docs/resilience.md: its pieces do what they say by themselves, and it leads everywhere that it promises."""

import re
from pathlib import Path

import pytest

from turnout.proxy.errors import Flag
from turnout.rules.files import load_paths

PAGE = (Path(__file__).parents[2] / "docs" / "resilience.md").read_text()
PIECES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
OF_A_PIECE = {"missing-predictor", "unused-predictor"}
"""A piece is the predictor, or the route; the other half is the reader's."""
ELSEWHERE = {"NONE", "NR", "NC", "DC", "DPE", "UAEX"}
"""Not about models that fail; they are in access-log.md."""


@pytest.mark.parametrize("piece", PIECES, ids=[str(number) for number in range(len(PIECES))])
def test_nothing_in_a_piece_is_without_effect(piece: str, tmp_path: Path) -> None:
    path = tmp_path / "piece.yaml"
    path.write_text(piece)
    loaded = load_paths([path])
    assert [str(error) for error in loaded.errors] == []
    assert [str(warning) for warning in loaded.warnings if warning.code not in OF_A_PIECE] == []


def test_every_flag_of_a_failure_is_explained() -> None:
    rows = "".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert {flag.name for flag in Flag} - ELSEWHERE - set(re.findall(r"`([A-Z]+)`", rows)) == set()
