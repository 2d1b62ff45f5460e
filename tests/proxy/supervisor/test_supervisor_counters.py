"""Counter blocks: sums over workers, holes, gauges of the dead, and what Prometheus is shown."""

import os

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from turnout.proxy.errors import Flag
from turnout.proxy.supervisor.counters import Blocks
from turnout.proxy.supervisor.metrics import render_metrics
from turnout.proxy.supervisor.state import Facts
from turnout.proxy.supervisor.states.facts import EndpointFact, StateFacts
from turnout.proxy.telemetry.layout import (
    BLOCK_BYTES,
    BOUNDS_S,
    BUCKETS_TABLE,
    CODE_CLASSES,
    FLAGS,
    RECORD_WORDS,
    ClusterWord,
    EndpointWord,
    Layout,
    RouteWord,
    Word,
)
from turnout.rules.source import Discovery

FACTS = Facts("v1", 3, 1, False, 5.0, 2, 4, 6, 1.0)
ROUTE_KEY = ("route", "default/iris/0", "default/iris-v1")
ENDPOINT_KEY = ("endpoint", "default/iris-v1", "127.0.0.1:8081")


@pytest.fixture
def blocks():
    made = Blocks(2)
    yield made
    made.close()


@pytest.fixture
def layout():
    return Layout()


def write(blocks: Blocks, slot: int, offset: int, value: int) -> None:
    os.pwrite(blocks.fd(slot), value.to_bytes(8, "little"), 8 * offset)


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counts_are_sums_over_all_workers(blocks, layout):
    (offset,) = layout.allot([ROUTE_KEY])
    for slot, value in ((0, 5), (1, 7)):
        write(blocks, slot, offset + RouteWord.BYTES_SENT, value)
        write(blocks, slot, Word.CONNECTIONS_TOTAL, value)
    counts = blocks.read()
    assert counts.words[Word.CONNECTIONS_TOTAL] == 12
    assert counts.records[offset][RouteWord.BYTES_SENT] == 12


def test_records_that_cross_pages_and_the_last_one_are_read_once(blocks, layout):
    offsets = layout.allot([("route", str(number), "") for number in range(50)])
    last = BLOCK_BYTES // 8 - RECORD_WORDS
    for offset in [*offsets, last]:
        write(blocks, 0, offset, 1)
        write(blocks, 0, offset + RECORD_WORDS - 1, 2)
    records = blocks.read().records
    assert sorted(records) == [*offsets, last]
    assert all((words[0], words[-1]) == (1, 2) for words in records.values())


def test_reading_and_clearing_leave_holes_as_they_are(blocks, layout):
    before = os.fstat(blocks.fd(0)).st_blocks
    (offset,) = layout.allot([ENDPOINT_KEY])
    blocks.read()
    blocks.clear_gauges(0, {offset: ENDPOINT_KEY})
    write(blocks, 0, BLOCK_BYTES // 8 - 1, 1)
    assert len(blocks.read().records) == 1
    # One page for the header, written by clear_gauges, and one at the end (512-byte units).
    assert os.fstat(blocks.fd(0)).st_blocks <= before + 2 * 8


def test_a_dead_workers_gauges_are_cleared_and_its_counters_kept(blocks, layout):
    route, endpoint = layout.allot([ROUTE_KEY, ENDPOINT_KEY])
    for slot in (0, 1):
        for word in (
            Word.CONNECTIONS_ACTIVE, Word.CONNECTIONS_TOTAL, route + RouteWord.BYTES_SENT,
            endpoint + EndpointWord.ACTIVE, endpoint + EndpointWord.CONNECTIONS_ACTIVE,
            endpoint + EndpointWord.REQUESTS,
        ):  # fmt: skip
            write(blocks, slot, word, 1)
    blocks.clear_gauges(0, {offset: key for key, offset in layout.records()})
    counts = blocks.read()
    assert (counts.words[Word.CONNECTIONS_ACTIVE], counts.words[Word.CONNECTIONS_TOTAL]) == (1, 2)
    assert counts.records[route][RouteWord.BYTES_SENT] == 2
    numbers = counts.records[endpoint]
    assert numbers[EndpointWord.ACTIVE] == numbers[EndpointWord.CONNECTIONS_ACTIVE] == 1
    assert numbers[EndpointWord.REQUESTS] == 2


def test_requests_are_labelled_by_route_predictor_code_and_flag(blocks, layout):
    (offset,) = layout.allot([ROUTE_KEY])
    place = offset + RouteWord.REQUESTS
    write(blocks, 0, place + CODE_CLASSES.index("2xx") * FLAGS, 9)
    write(blocks, 1, place + CODE_CLASSES.index("5xx") * FLAGS + Flag.UH, 2)
    shown = samples(render_metrics(blocks.read(), list(layout.records()), FACTS))
    labels = {("route", "default/iris/0"), ("predictor", "default/iris-v1")}
    name = "turnout_requests_total"
    assert shown[name, frozenset(labels | {("code_class", "2xx"), ("flag", "-")})] == 9
    assert shown[name, frozenset(labels | {("code_class", "5xx"), ("flag", "UH")})] == 2


def test_histograms_are_cumulative_and_count_every_request(blocks, layout):
    (offset,) = layout.allot([ROUTE_KEY])
    start = offset + RouteWord.DOWNSTREAM
    for slot, bucket, count in ((0, 0, 4), (1, 3, 5), (0, len(BOUNDS_S), 1)):
        write(blocks, slot, start + bucket, count)
    write(blocks, 0, start + len(BOUNDS_S) + 1, 2_500_000_000)
    shown = samples(render_metrics(blocks.read(), list(layout.records()), FACTS))
    labels = frozenset({("route", "default/iris/0"), ("predictor", "default/iris-v1")})
    assert shown["turnout_downstream_seconds_count", labels] == 10
    assert shown["turnout_downstream_seconds_sum", labels] == 2.5
    assert shown["turnout_downstream_seconds_bucket", labels | {("le", "0.0001")}] == 4
    assert shown["turnout_downstream_seconds_bucket", labels | {("le", "0.001")}] == 9
    assert shown["turnout_downstream_seconds_bucket", labels | {("le", "300.0")}] == 9
    assert shown["turnout_downstream_seconds_bucket", labels | {("le", "+Inf")}] == 10


def test_the_supervisors_own_numbers_are_shown(blocks, layout):
    shown = samples(render_metrics(blocks.read(), list(layout.records()), FACTS))
    none = frozenset()
    assert shown["turnout_config_reloads_total", frozenset({("result", "success")})] == 3
    assert shown["turnout_config_reloads_total", frozenset({("result", "failure")})] == 1
    assert shown["turnout_config_version_info", frozenset({("version", "v1")})] == 1
    assert shown["turnout_config_last_reload_successful", none] == 0
    assert shown["turnout_worker_restarts_total", none] == 4
    assert shown["turnout_dns_failures_total", none] == 6


def test_predictors_and_the_states_of_endpoints_are_shown(blocks, layout):
    (offset,) = layout.allot([("cluster", "default/iris", "")])
    for word, value in ((ClusterWord.PENDING, 2), (ClusterWord.RETRIES, 5)):
        write(blocks, 1, offset + word, value)
    states = StateFacts(
        (EndpointFact("default/iris", "127.0.0.1:1", "ejected"),),
        {("default/iris", "passed"): 3},
        {("ejected", "latency", "default/iris"): 4, ("breaker_open", "", "default/iris"): 6},
    )
    facts = msgspec.structs.replace(FACTS, states=states)
    shown = samples(render_metrics(blocks.read(), list(layout.records()), facts))
    predictor = ("predictor", "default/iris")
    assert shown["turnout_predictor_pending_requests", frozenset({predictor})] == 2
    assert shown["turnout_retries_total", frozenset({predictor})] == 5
    assert shown["turnout_health_checks_total", frozenset({predictor, ("outcome", "passed")})] == 3
    assert shown["turnout_ejections_total", frozenset({predictor, ("kind", "latency")})] == 4
    assert shown["turnout_breaker_opens_total", frozenset({predictor})] == 6
    named = {predictor, ("endpoint", "127.0.0.1:1")}
    values = {
        state: shown["turnout_endpoint_state", frozenset(named | {("state", state)})]
        for state in ("available", "ejected", "half_open")
    }
    assert values == {"available": 0, "ejected": 1, "half_open": 0}


def test_one_record_is_read_as_the_sum_over_all_workers(blocks, layout):
    (offset,) = layout.allot([ENDPOINT_KEY])
    for slot, value in ((0, 5), (1, 7)):
        write(blocks, slot, offset + EndpointWord.REQUESTS, value)
    words = blocks.record(offset)
    assert (len(words), words[EndpointWord.REQUESTS], sum(words)) == (RECORD_WORDS, 12, 12)


def test_what_lies_behind_the_records_is_no_record(blocks):
    write(blocks, 0, BUCKETS_TABLE + 5, 1)
    assert blocks.read().records == {}
    blocks.clear_gauges(0, {})


def test_a_control_planes_client_is_shown_and_nothing_of_it_without_one(blocks, layout):
    names = {name for name, _ in samples(render_metrics(blocks.read(), [], FACTS))}
    assert not [name for name in names if name.startswith("turnout_xds_")]
    new = Discovery(connected=False, acks={}, nacks={}, updated_at=0.0)
    shown = samples(render_metrics(blocks.read(), [], msgspec.structs.replace(FACTS, discovery=new)))
    assert {name: value for (name, _), value in shown.items() if "_xds_" in name} == {"turnout_xds_connected": 0}
    used = Discovery(connected=True, acks={"CDS": 2, "RDS": 3}, nacks={"RDS": 1}, updated_at=7.5)
    shown = samples(render_metrics(blocks.read(), [], msgspec.structs.replace(FACTS, discovery=used)))
    assert {key: value for key, value in shown.items() if "_xds_" in key[0]} == {
        ("turnout_xds_connected", frozenset()): 1,
        ("turnout_xds_acks_total", frozenset({("type", "CDS")})): 2,
        ("turnout_xds_acks_total", frozenset({("type", "RDS")})): 3,
        ("turnout_xds_nacks_total", frozenset({("type", "RDS")})): 1,
        ("turnout_xds_last_update_timestamp_seconds", frozenset()): 7.5,
    }
