"""The command line as a whole: usage, exit codes, and what is (not) loaded for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from turnout.deploy.cli import COMMANDS, main


def turnout(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "turnout.deploy", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["proxy"], "one of the arguments --rules --xds is required"),
        (["proxy", "--rules"], "--rules: expected at least one argument"),
        (["proxy", "--rules", "a", "--listen", "8080"], "--listen: '8080' is not HOST:PORT"),
        (["proxy", "--rules", "a", "--workers", "0"], "--workers: '0' is not a number of workers"),
        (["proxy", "--rules", "a", "--trusted", "moon"], "--trusted: 'moon' is not an IP network"),
        (["proxy", "--rules", "a", "--max-memory", "12Mi"], "--max-memory: '12Mi': a proxy needs at least"),
        (["proxy", "--rules", "a", "--max-memory", "lots"], "--max-memory: 'lots' is not a size"),
        (["proxy", "--rules", "a", "--max-connections", "0"], "--max-connections: '0' is not a number of connections"),
        (["proxy", "--rules", "a", "--drain-timeout", "30"], "--drain-timeout: '30' is not a duration"),
        (["proxy", "--rules", "a", "--access-log-format", "xml"], "invalid choice: 'xml'"),
        (["up"], "say --demo, or --rules PATH"),
        (["up", "--demo", "--listen", "127.0.0.1:0"], "cannot listen on port 0"),
        (["validate"], "required: PATH"),
        (["schema", "--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_a_wrong_command_line_ends_with_code_2_and_the_reason(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"usage: turnout {command}" in capsys.readouterr().out


def test_the_version_is_printed() -> None:
    answer = turnout("--version")
    assert answer.returncode == 0
    assert answer.stdout.startswith("turnout 0.")


def test_starting_a_proxy_loads_nothing_of_the_other_commands() -> None:
    """What is loaded before the proxy runs is waited for by whoever waits for readiness."""
    script = (
        "import sys; from turnout.deploy.cli import main\n"
        "try: main(['proxy', '--help'])\n"
        "except SystemExit: print(*sorted(sys.modules), file=sys.stderr)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    ).stderr.split()
    assert "turnout.deploy.commands.proxy" in loaded
    for module in (
        "asyncio",
        "aiohttp",
        "yaml",
        "re2",
        "numpy",
        "importlib.metadata",
        "turnout.deploy.commands.up",
    ):
        assert module not in loaded, module


def test_the_schema_is_the_one_in_the_repository() -> None:
    answer = turnout("schema")
    assert answer.returncode == 0, answer.stderr
    kept = Path(__file__).parents[2] / "routing-rules" / "schema.json"
    assert answer.stdout == kept.read_text()


def test_a_reader_that_goes_away_is_not_a_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "turnout.deploy", "schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
