"""`turnout certs`: what it makes, and what it refuses."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from turnout.deploy.cli import main

ISSUE = ("issue", "web", "--dns", "localhost", "--ip", "127.0.0.1", "--spiffe", "spiffe://td/ns/x/sa/y")


def certs(folder: Path, *words: str) -> int:
    return main(["certs", *words, "--dir", str(folder)])


def test_a_ca_and_a_certificate_of_it_are_made(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "new"
    assert (certs(folder, "init"), certs(folder, *ISSUE)) == (0, 0)
    assert capsys.readouterr().out.split() == [
        str(folder / n) for n in ("ca.pem", "ca-key.pem", "web.pem", "web-key.pem")
    ]
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.glob("*-key.pem")} == {
        "ca-key.pem": 0o600,
        "web-key.pem": 0o600,
    }
    made = x509.load_pem_x509_certificate((folder / "web.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://td/ns/x/sa/y"]
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 7
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "web.pem", folder / "web-key.pem")


def test_nothing_is_replaced_without_force(tmp_path: Path, capsys) -> None:
    certs(tmp_path, "init")
    certs(tmp_path, *ISSUE)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert (certs(tmp_path, "init"), certs(tmp_path, *ISSUE)) == (1, 1)
    assert "--force replaces it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert certs(tmp_path, *ISSUE, "--force") == 0
    assert (tmp_path / "web-key.pem").read_bytes() != before[tmp_path / "web-key.pem"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("issue", "x"), "needs a name"),
        (("issue", "ca", "--dns", "a"), "is no name for a file"),
        (("issue", "../x", "--dns", "a"), "is no name for a file"),
        (("issue", "x", "--dns", "a b"), "is not a hostname"),
        (("issue", "x", "--ip", "1.2.3"), "does not appear to be"),
        (("issue", "x", "--spiffe", "spiffe://td/*"), "no SPIFFE id"),
        (("issue", "x", "--spiffe", "https://td/x"), "no SPIFFE id"),
        (("issue", "x", "--spiffe", "spiffe://td/x", "--spiffe", "spiffe://td/y"), "one SPIFFE id at most"),
        (("issue", "x", "--dns", "a", "--days", "100"), "the CA is valid until"),
    ],
)
def test_what_can_not_be_made_is_told(tmp_path: Path, capsys, words: tuple[str, ...], complaint: str) -> None:
    certs(tmp_path, "init")
    capsys.readouterr()
    assert certs(tmp_path, *words) == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"ca.pem", "ca-key.pem"}


def test_there_is_no_certificate_without_a_ca(tmp_path: Path, capsys) -> None:
    assert certs(tmp_path, *ISSUE) == 1
    assert "turnout certs init makes it" in capsys.readouterr().err
