"""The documentation is true of the code: every block runs or loads, every reference table is whole, links lead
somewhere.

A fenced block says its language: `sh` blocks are run (in the root of the repository, with `turnout up --demo`
running, whose ports stand in for the default ones), `yaml` blocks are loaded as rules. A block that cannot be run
here has the word `untested` after its language, and is only parsed.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
import yaml

from turnout.deploy.commands import proxy
from turnout.proxy import errors
from turnout.proxy.errors import Failure, Flag
from turnout.proxy.exchange.answers import grpc_status
from turnout.proxy.telemetry.access_log import FIELDS
from turnout.rules.documents import base, gateway, grpcroute, httproute, predictor, tls
from turnout.rules.files import load_paths

if TYPE_CHECKING:
    from conftest import StartDemo

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CHANGELOG.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
LANGUAGES = {"sh", "yaml", "json", "text", "mermaid", "promql"}
DEFAULT_PORTS = {"8080": "listen", "9901": "admin", "8081": "iris-v1", "8082": "iris-v2"}


class Block(NamedTuple):
    """One fenced block."""

    place: str
    language: str
    tested: bool
    text: str


def blocks(language: str, tested: bool) -> list[Block]:
    return [b for b in ALL_BLOCKS if b.language == language and b.tested == tested]


def read_blocks() -> list[Block]:
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in FENCE.finditer(text):
            language, _, info = match[1].partition(" ")
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(f"{path.relative_to(ROOT)}:{line}", language, info != "untested", match[2]))
    return found


ALL_BLOCKS = read_blocks()


def place(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=place)
def test_every_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", blocks("yaml", tested=True), ids=place)
def test_every_rule_file_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "block.yaml"
    path.write_text(block.text)
    assert [str(error) for error in load_paths([path]).errors] == []


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if not b.tested], ids=place)
def test_a_block_that_cannot_be_run_is_still_parsed(block: Block) -> None:
    if block.language == "yaml":
        assert list(yaml.safe_load_all(block.text))
    else:
        assert block.language == "sh"
        subprocess.run(["bash", "-n", "-c", block.text], check=True)


async def test_every_command_runs(
    start_demo: "StartDemo", demo_ports: dict[str, int], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("curl")
    await start_demo()
    (tmp_path / ".curlrc").write_text("fail\n")  # an answer of 400 and above is a failure
    environment = {
        **os.environ,
        "CURL_HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for block in blocks("sh", tested=True):
        text = re.sub(
            r"127\.0\.0\.1:(\d+)", lambda match: f"127.0.0.1:{demo_ports[DEFAULT_PORTS[match[1]]]}", block.text
        )
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", text, cwd=ROOT, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, f"{block.place}:\n{output.decode()}"


async def test_the_metrics_page_lists_what_is_there(
    start_demo: "StartDemo", demo_ports: dict[str, int], require_tool: Callable[[str], str]
) -> None:
    curl = require_tool("curl")
    await start_demo()
    for name, path in (("listen", "/v2/models/iris"), ("admin", "/metrics")):
        process = await asyncio.create_subprocess_exec(
            curl, "-sf", f"http://127.0.0.1:{demo_ports[name]}{path}", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    there = set(re.findall(r"^# TYPE (turnout_\w+) ", output.decode(), re.MULTILINE))
    there = {name for name in there if not name.endswith("_created")}
    page = (ROOT / "docs/metrics.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)[`{]", page, re.MULTILINE))
    # What a control plane's client tells is compared in tests/e2e/test_e2e_xds_proxy.py.
    assert {name for name in rows if not name.startswith("turnout_xds_")} == there


def test_the_rules_page_names_every_field() -> None:
    page = (ROOT / "docs/rules.md").read_text()
    words = set(re.findall(r"\w+", page))
    structs = [
        item
        for module in (httproute, grpcroute, gateway, predictor, tls)
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, base.Strict)
    ]
    fields = {field.encode_name for item in structs for field in msgspec.structs.fields(item)}
    assert fields - words - {"apiVersion", "metadata", "finalizers"} == set()


def test_the_access_log_page_names_every_field_and_flag() -> None:
    words = set(re.findall(r"\w+", (ROOT / "docs/access-log.md").read_text()))
    assert set(FIELDS) - words == set()
    assert {flag.name for flag in Flag if flag is not Flag.NONE} - words == set()


def test_the_status_of_every_failure_of_a_grpc_call_is_documented() -> None:
    """But for what fails before there is a call."""
    text = (ROOT / "docs/grpc.md").read_text()
    rows = [line.split("|")[1:3] for line in text.splitlines() if re.match(r"\| `[A-Z_]+`(, `[A-Z_]+`)* \| `", line)]
    told = {(status, flag) for left, right in rows for status in words_of(left) for flag in words_of(right)}
    failures = [value for value in vars(errors).values() if isinstance(value, Failure)]
    real = {(grpc_status(failure).name, str(failure.flag)) for failure in failures}
    assert {(status, flag) for status, flag in real if status != "UNKNOWN"} - told == set()
    assert {flag for _, flag in told} <= {str(flag) for flag in Flag}


def words_of(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_the_operators_page_has_every_option() -> None:
    page = (ROOT / "docs/operate.md").read_text()
    parser = argparse.ArgumentParser(add_help=False)
    proxy.add_arguments(parser)
    options = {word for line in parser.format_help().splitlines() for word in re.findall(r"^  (--[\w-]+)", line)}
    assert options
    assert {option for option in options if f"| `{option}" not in page} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text()):
        if "://" in target:
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
