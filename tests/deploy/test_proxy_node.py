"""`turnout proxy --xds`: what the command line says of the control plane, and what it refuses."""

import argparse
import os

import pytest

from turnout.deploy.arguments import key_value
from turnout.deploy.cli import main
from turnout.deploy.commands import proxy
from turnout.deploy.errors import Failure
from turnout.deploy.node import default_cache, xds_options

XDS = ["--xds", "127.0.0.1:18000", "--node-id", "iris-1"]


def read(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    proxy.add_arguments(parser)
    return parser.parse_args(words)


def test_all_of_it_is_read() -> None:
    options = xds_options(
        read(
            *XDS, "--node-metadata", "app=iris", "empty=", "--node-metadata", "a=b=c", "--xds-sotw", "--xds-cache", "c"
        )
    )
    assert options is not None
    assert (options.address, options.node_id, options.variant) == ("127.0.0.1:18000", "iris-1", "sotw")
    assert options.metadata == {"app": "iris", "empty": "", "a": "b=c"}
    assert options.cache == os.path.abspath("c")
    assert (options.ca, options.cert, options.key) == (None, None, None)


def test_the_default_is_delta_without_tls_and_with_a_cache_of_its_own() -> None:
    options = xds_options(read(*XDS))
    assert options is not None
    assert (options.variant, options.cache) == ("delta", os.path.abspath(".turnout/proxy-iris-1.snapshot"))
    options = xds_options(read(*XDS, "--xds-cache", "off"))
    assert options is not None
    assert options.cache is None


@pytest.mark.parametrize("node_id", ["../../etc/passwd", "a/b", "näme", "x" * 5_000, ".", "sidecar~10.0.0.1~pod.ns~x"])
def test_no_node_id_leads_out_of_the_folder(node_id: str) -> None:
    folder, name = os.path.split(default_cache(node_id))
    assert folder == ".turnout"
    assert len(name) < 255


def test_rules_of_its_own_know_no_control_plane() -> None:
    assert xds_options(read("--rules", "a")) is None


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--rules", "a", "--xds", "127.0.0.1:1"], "not allowed with argument"),
        (["--xds", "127.0.0.1:1"], "--xds needs --node-id"),
        (["--rules", "a", "--node-id", "n"], "--node-id needs --xds"),
        (["--rules", "a", "--node-metadata", "a=b"], "--node-metadata needs --xds"),
        (["--rules", "a", "--xds-sotw"], "--xds-sotw needs --xds"),
        (["--rules", "a", "--xds-ca", "x"], "--xds-ca needs --xds"),
        ([*XDS, "--node-metadata", "iris"], "'iris' is not KEY=VALUE"),
        ([*XDS, "--xds-cert", "x"], "--xds-cert and --xds-key need each other"),
        ([*XDS, "--xds-cert", "x", "--xds-key", "y"], "--xds-cert needs --xds-ca"),
        (["--xds", "18000", "--node-id", "n"], "'18000' is not HOST:PORT"),
    ],
)
def test_what_makes_no_sense_ends_with_code_2_and_the_reason(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["proxy", *words])
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(Failure, match="--xds-ca: /nowhere can't be read"):
        xds_options(read(*XDS, "--xds-ca", "/nowhere"))


@pytest.mark.parametrize("word", ["", "=", "=b", "a"])
def test_a_label_has_a_key(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        key_value(word)
