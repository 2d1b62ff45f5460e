"""Whatever stands in a file: it loads or is told with its place; the loader never raises."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.rules.examples import examples_path
from turnout.rules.files import load_paths
from turnout.rules.snapshot import decode_snapshot

EXAMPLES = [path.read_text() for path in sorted(examples_path().iterdir())]
ODD = [
    "~", "null", "[]", "{}", "[[]]", "''", "-1", "0", "1e400", "99999999999999999999", ".nan", "true", "*a", "&a x",
    "!!python/object:os.system x", "!!binary AA==", "2026-01-01", "'\\0'", '"\\ud800"', "%", "*.*", "a.*.b", "(",
    "(?i)x", "//", "/..", "x" * 300, "?", "- -", "---", "...", "{name: iris-v1}", "Exact", "RegularExpression", "é",
    "\t", "\x85",
]  # fmt: skip


def mutate(text: str, rng: random.Random) -> str:
    """A document with a few lines dropped, doubled, swapped or moved in, and a few values replaced by odd ones."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, 4)):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                del lines[at]
                lines = lines or [""]
            case 1:
                lines.insert(other, lines[at])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines[at] = rng.choice(["", " ", "  "]) + lines[at]
            case 4:
                key, colon, _ = lines[at].partition(":")
                lines[at] = f"{key}{colon} {rng.choice(ODD)}"
            case 5:
                words = lines[at].split(" ")
                words[rng.randrange(len(words))] = rng.choice(ODD)
                lines[at] = " ".join(words)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def rule_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples: only its content differs."""
    return tmp_path_factory.mktemp("rules") / "rules.yaml"


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    result = load_paths([path])
    assert (result.snapshot is None) == bool(result.errors)
    for diagnostic in result.diagnostics:
        assert str(path) in str(diagnostic)
    if result.snapshot is not None:
        assert decode_snapshot(result.snapshot.encode()) == result.snapshot


@given(st.sampled_from(EXAMPLES), st.randoms(use_true_random=False))
def test_a_changed_document_loads_or_is_told_with_its_place(rule_file: Path, text: str, rng: random.Random) -> None:
    check(rule_file, mutate(text, rng).encode("utf-8", "surrogatepass"))


@settings(max_examples=settings.default.max_examples // 2)
@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,? \n\t0~", max_size=60).map(str.encode))
def test_any_bytes_load_or_are_told_with_their_place(rule_file: Path, content: bytes) -> None:
    check(rule_file, content)
