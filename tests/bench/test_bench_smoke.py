"""The measurements' own parts: parsers, configurations, figures, processes. Nothing is measured here."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import unknown_fields
from google.protobuf.empty_pb2 import Empty

sys.path.insert(0, str(Path(__file__).parent))

from sidebyside import envoy, haproxy, mutual_tls, nginx, targets, tools
from sidebyside.checks import AccessLog, WrongAnswer, check_answers, check_load
from sidebyside.exports import check_exports
from sidebyside.load import Load, LoadFailed, Target, parse_h2load, parse_h2load_log, parse_wrk
from sidebyside.processes import Child, Cores, ProcessDied, wait_until
from sidebyside.report import markdown
from sidebyside.setup import LOG_FIELDS, Setup
from sidebyside.stage import PROXIES, VARIANTS, Lane, Stage, answers
from sidebyside.turnout import rule_file
from sidebyside.turns import FEW, FIXED, MANY, SATURATION, Plan, Turn, measure, medians
from sidebyside.upstream import grpc_upstream_argv, upstream_argv
from sidebyside.work import ANSWERS, SHAPES, Shape, Table, big_table, grpc_table, small_table


def need(*names: str) -> None:
    """Skip, saying why, where a tool is missing; fail instead where `CI` is set."""
    for name in names:
        try:
            tools.find_tool(name.removesuffix("-compiled"))
        except tools.ToolMissing as missing:
            if os.environ.get("CI"):
                pytest.fail(str(missing))
            pytest.skip(str(missing))


# --- the work ---------------------------------------------------------------------------------------


def test_bodies_have_the_sizes_that_the_report_names() -> None:
    assert {name: len(answer) for name, answer in ANSWERS.items()} == {"small": 130, "large": 100_000}
    assert {name: len(shape.body) for name, shape in SHAPES.items()} == {
        "small": 100,
        "small-traced": 100,
        "untraced": 100,
        "large-request": 100_000,
        "large-answer": 100,
        "grpc": 150,
        "grpc-large": 1_000_000,
    }


@pytest.mark.parametrize("shape", [shape for shape in SHAPES.values() if shape.grpc], ids=lambda shape: shape.name)
def test_messages_of_grpc_are_those_of_the_open_inference_protocol(shape: Shape) -> None:
    for message, padded_field in ((shape.body, 7), (shape.answer, 6)):
        prefix, protobuf = message[:5], message[5:]
        assert len(message) == shape.request_bytes
        assert (prefix[0], int.from_bytes(prefix[1:], "big")) == (0, len(protobuf))
        unknown = unknown_fields.UnknownFieldSet(Empty.FromString(protobuf))
        assert {field.field_number: field.data[:4] for field in unknown} == {
            1: b"iris",
            2: b"1",
            padded_field: bytes(4),
        }


@pytest.mark.parametrize(("table", "rules"), [(small_table(), 20), (grpc_table(), 20), (big_table(), 10_000)])
def test_a_table_has_its_rules_and_asks_one_in_the_middle_of_its_host(table: Table, rules: int) -> None:
    assert len(table.rules) == len(set(table.rules)) == rules
    host = table.by_host()[table.asked.host]
    assert 0.4 < host.index(table.asked) / len(host) < 0.6


def test_the_measured_request_has_ten_headers() -> None:
    assert len(small_table().headers(SHAPES["small"])) == 10
    assert len(grpc_table().headers(SHAPES["grpc"])) == 9


# --- what the load generators write -----------------------------------------------------------------


def test_the_summary_of_wrk_is_read() -> None:
    line = '{"requests":4000,"us":2000000,"bytes":1200000,"failed":3,"p50_us":900,"p99_us":2500}'
    load = parse_wrk(f"Running 2s test\n  1 threads and 32 connections\n{line}\n")
    assert load == Load(requests=4000, failed=3, seconds=2.0, p50_ms=0.9, p99_ms=2.5, bytes=1_200_000)
    assert load.per_second == 2000


def test_the_log_of_h2load_gives_percentiles_and_counts_what_is_not_200() -> None:
    lines = [f"{1_000_000 + i * 1000}\t{503 if i == 7 else 200}\t{i + 1}" for i in range(100)]
    load = parse_h2load_log("\n".join(lines) + "\n")
    assert (load.requests, load.failed, load.p50_ms, load.p99_ms) == (100, 1, 0.050, 0.099)
    assert load.per_second == pytest.approx(1000)


_SUMMARY = """finished in 2.00s, 50.00 req/s, 17.19KB/s
requests: 100 total, 140 started, 100 done, {succeeded} succeeded, 1 failed, 0 errored, 0 timeout
status codes: {right} 2xx, 0 3xx, 0 4xx, 3 5xx
traffic: 17.58KB (18002) total, 300B (300) headers (space savings 94.34%), 14.65KB (15000) data
"""


@pytest.mark.parametrize(("succeeded", "right", "failed"), [(100, 100, 0), (99, 100, 1), (100, 97, 3)])
def test_the_summary_of_h2load_is_read(succeeded: int, right: int, failed: int) -> None:
    log = "".join(f"{1_000_000 + i * 1000}\t200\t{i + 1}\n" for i in range(100))
    load = parse_h2load(_SUMMARY.format(succeeded=succeeded, right=right), log, at_once=40)
    assert load == Load(100, failed, 2.0, p50_ms=0.050, p99_ms=0.099, bytes=18_002, at_once=40)


@pytest.mark.parametrize("parse", [parse_wrk, parse_h2load_log, lambda output: parse_h2load(output, "", 1)])
def test_a_load_generator_that_says_nothing_is_an_error(parse: Any) -> None:
    with pytest.raises(LoadFailed):
        parse("unable to connect\n")


# --- what counts as wrong ---------------------------------------------------------------------------


def _load(**other: Any) -> Load:
    usual = {"requests": 1000, "failed": 0, "seconds": 1.0, "p50_ms": 1.0, "p99_ms": 2.0, "bytes": 300_000}
    return Load(**{**usual, **other})


def test_failed_requests_and_answers_of_another_length_are_refused(tmp_path: Path) -> None:
    target = Target(tmp_path, 1, small_table(), SHAPES["small"])
    check_load("right", _load(), target)
    for wrong in (_load(failed=1), _load(bytes=100_000), _load(bytes=9_000_000)):
        with pytest.raises(WrongAnswer):
            check_load("wrong", wrong, target)


METRICS = """# TYPE turnout_spans_exported counter
turnout_spans_exported_total {exported}
turnout_spans_dropped_total{{reason="export"}} {refused}
turnout_spans_dropped_total{{reason="queue"}} 5.0
"""


@pytest.fixture
def admin() -> Iterator[ThreadingHTTPServer]:
    """An admin interface that answers with its `text`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(server.text.encode())

        def log_message(self, *_args: object) -> None: ...

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_that_a_collector_does_not_take_are_refused(admin: Any, tmp_path: Path) -> None:
    runner: Any = SimpleNamespace(
        lane=Lane("turnout spans 1 %", "turnout spans 1 %", small_table()),
        setup=Setup(tmp_path, small_table(), 1, admin.server_port, 2, 3),
    )
    admin.text = METRICS.format(exported=512.0, refused=0.0)
    check_exports(runner)
    admin.text = METRICS.format(exported=512.0, refused=7.0)
    with pytest.raises(WrongAnswer, match=r'turnout spans 1 %: 7 spans dropped \{reason="export"\}'):
        check_exports(runner)


def test_the_access_log_is_complete_when_all_expected_lines_are_there(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(path)
    log.settle()
    path.write_text("a\nb\n")
    log.expect(2)
    log.settle()
    assert path.read_text() == ""


# --- processes --------------------------------------------------------------------------------------


def test_a_child_is_measured_and_ended_with_its_descendants(tmp_path: Path) -> None:
    with Child(["sh", "-c", "sh -c 'while :; do :; done' & wait"], tmp_path / "out") as child:
        wait_until(lambda: len(child.tree()) == 2, "the grandchild runs", 5)
        wait_until(lambda: child.cpu_s() > 0.02, "it uses CPU", 5)
        assert child.pss_bytes() > 50_000
        pids = child.tree()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists() and _state(pid) != "Z"]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_child_that_ends_by_itself_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with (
        Child(["sh", "-c", "echo cannot bind; exit 3"], tmp_path / "out") as child,
        pytest.raises(ProcessDied, match=r"sh ended with 3: cannot bind"),
    ):
        wait_until(lambda: answers(child, 1, "/"), "an answer", 5)


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_named: None)
    with pytest.raises(tools.ToolMissing, match="h2load is missing: install Debian package nghttp2-client"):
        tools.find_tool("h2load")


# --- configurations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [envoy.LOG, nginx.LOG, haproxy.LOG])
def test_access_logs_have_the_same_fields(log: dict[str, str]) -> None:
    assert tuple(log) == LOG_FIELDS


@pytest.mark.parametrize("proxy", [*PROXIES, *VARIANTS])
def test_the_proxy_accepts_the_configuration(proxy: str, tmp_path: Path) -> None:
    need(proxy.split()[0])
    launch = {**PROXIES, **VARIANTS}[proxy](Setup(tmp_path, small_table(), 10_001, 10_002, 10_003, 10_004))
    done = subprocess.run(launch.check_argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nginx_accepts_the_upstream_configuration(tmp_path: Path) -> None:
    need("nginx")
    argv = [*upstream_argv(tmp_path, 10_003, 10_004), "-t"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rule_file_holds_to_the_limit_of_16_rules_a_document() -> None:
    documents = rule_file(big_table(hosts=2, prefixes=40), 1, 2).split("---\n")
    assert max(document.count("- matches:") for document in documents) == 16
    assert sum(document.count("- matches:") for document in documents) == 82


def test_a_short_measurement_of_nginx_passes_its_own_checks(tmp_path: Path) -> None:
    need("nginx", "wrk", "h2load")
    cores = frozenset(os.sched_getaffinity(0))
    with Stage(tmp_path / "stage", Cores(cores, cores)) as stage:
        runners = stage.start_all([Lane("nginx", "nginx", small_table())])
        plan = Plan(turns=1, seconds=1, warm_up_s=1)
        turns = measure(runners, SHAPES["small"], plan, (FIXED,), tmp_path)
    assert turns[0].requests == 3000
    assert turns[0].cpu_us > 0


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_short_measurement_of_calls_passes_its_own_checks(proxy: str, tmp_path: Path) -> None:
    need(proxy, "h2load")
    cores = frozenset(os.sched_getaffinity(0))
    with Stage(tmp_path / "stage", Cores(cores, cores), grpc_upstream_argv) as stage:
        runners = stage.start_all([Lane(proxy, f"{proxy} grpc", grpc_table())])
        check_answers(runners[0], Target(tmp_path, runners[0].setup.listen, grpc_table(), SHAPES["grpc-large"]))
        turns = measure(runners, SHAPES["grpc"], Plan(turns=1, seconds=0.2, warm_up_s=0.1), (FEW, MANY), tmp_path)
    assert [turn.load for turn in turns] == [FEW, MANY]
    assert all(turn.requests > 100 and turn.cpu_us > 0 for turn in turns)


@pytest.mark.parametrize("proxy", PROXIES)
def test_through_mutual_tls_calls_are_those_of_a_client_who_is_known(proxy: str, tmp_path: Path) -> None:
    need(proxy, "haproxy")
    cores = frozenset(os.sched_getaffinity(0))
    with Stage(tmp_path / "stage", Cores(cores, cores), grpc_upstream_argv) as stage:
        runner = stage.start(Lane(proxy, f"{proxy} grpc tls", grpc_table()))
        check_answers(runner, Target(tmp_path, runner.setup.listen, grpc_table(), SHAPES["grpc"]))
        log = runner.launch.access_log
        # Only Turnout and Envoy know the URI in a certificate; to the others its subject is the client.
        names = (mutual_tls.IDENTITY, "CN=load")
        wait_until(lambda: any(name in log.read_text() for name in names), "the client's name in the log", 10)


def test_a_call_that_fails_in_its_trailers_is_refused(tmp_path: Path) -> None:
    need("nginx")
    cores = frozenset(os.sched_getaffinity(0))
    wrong = dataclasses.replace(SHAPES["grpc"], request_bytes=151)  # none that the upstream has an answer for
    with Stage(tmp_path / "stage", Cores(cores, cores), grpc_upstream_argv) as stage:
        runner = stage.start(Lane("nginx", "nginx grpc", grpc_table()))
        with pytest.raises(WrongAnswer, match=r"nginx: status 200, 0 bytes.*'grpc-status': '3'"):
            check_answers(runner, Target(tmp_path, runner.setup.listen, grpc_table(), wrong))


# --- the report -------------------------------------------------------------------------------------


def _turn(lane: str, load: str, cpu_us: float) -> Turn:
    return Turn(lane, load, 1000, cpu_us, 1000.0, 1.0, 2.0, 50_000_000, 0.03)


def test_medians_are_taken_over_the_turns_of_a_lane() -> None:
    turns = [_turn("envoy", SATURATION, cpu) for cpu in (40.0, 90.0, 50.0)]
    assert medians(turns)["envoy"][SATURATION]["cpu_us"] == 50.0


def test_the_report_has_ratios_and_says_which_aims_are_reached() -> None:
    cpu = {"envoy": 80.0, "turnout": 36.0, "nginx": 16.0}
    turns = [_turn(lane, load, us) for lane, us in cpu.items() for load in (SATURATION, FIXED)]
    rows = {
        "small": {"turns": [asdict(turn) for turn in turns], "medians": medians(turns)},
        "start": {"turnout": {"median_s": 0.4}},
    }
    reached = {target.name: target.reached for target in targets.judge(rows)}
    assert reached["CPU of a small request, × Envoy"]
    assert not reached["CPU of a small request, × nginx"]
    text = markdown(rows)
    assert "| turnout | 36.0 µs (36-36) | 0.45 |" in text
    assert "Others used 3 % of the proxy's core" in text
    assert "| start to ready | ≤ 0.5 s | 0.40 s | yes |" in text


def test_the_report_of_calls_has_a_line_for_each_load_and_proxy() -> None:
    cpu = {("turnout", FEW): 20.0, ("envoy", FEW): 32.0, ("turnout", MANY): 30.0, ("envoy", MANY): 40.0}
    turns = [_turn(lane, load, us) for (lane, load), us in cpu.items()]
    rows = {"grpc": {"turns": [asdict(turn) for turn in turns], "medians": medians(turns)}}
    text = markdown(rows)
    assert "| turnout | 4 × 10 | 20.0 µs (20-20) | 0.62 |" in text
    assert "| turnout | 1 × 100 | 30.0 µs (30-30) | 0.75 |" in text
    assert "| CPU of a unary call, 1 connection × 100 streams, × Envoy | ≤ 0.6 | 0.75 | **no** |" in text
