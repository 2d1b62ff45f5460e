"""Secrets in the supervisor: what is taken, what is refused and why, and what workers are told."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from turnout.deploy.certs.authority import Authority, Names, create_authority
from turnout.proxy.supervisor.secrets.files import FileSecrets
from turnout.proxy.supervisor.secrets.store import SecretStore
from turnout.rules.source import Secret, SecretFault, SecretFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_authority(tmp_path, "CA", 30)
    issue(tmp_path, "a", 7)
    issue(tmp_path, "b", 7)
    return tmp_path


def issue(folder: Path, name: str, days: float, force: bool = False) -> None:
    Authority(folder).issue(name, Names(dns=("a.test",)), days, force=force)


def secret(folder: Path, certificate: str = "a", key: str = "a", ca: bytes = b"") -> Secret:
    return Secret("s", (folder / f"{certificate}.pem").read_bytes(), (folder / f"{key}-key.pem").read_bytes(), ca)


class Told:
    def __init__(self) -> None:
        self.secrets: list[Secret] = []
        self.gone: list[str] = []
        self.store = SecretStore(self.tell)

    def tell(self, secrets: list[Secret], gone: list[str]) -> None:
        self.secrets += secrets
        self.gone += gone


def test_a_good_secret_is_told_once_and_shown_by_when_it_ends(folder: Path) -> None:
    told = Told()
    good = secret(folder, ca=(folder / "ca.pem").read_bytes())
    told.store.offer(good)
    told.store.offer(good)
    assert told.secrets == [good]
    assert [(fact.name, fact.part) for fact in told.store.facts()] == [("s", "certificate"), ("s", "ca")]
    assert told.store.why_missing(["s"]) == []


BAD = {
    "the key is not the certificate's": lambda folder: secret(folder, "a", "b"),
    "the certificate has expired": lambda folder: secret(folder, "old", "old"),
    "is not valid before": lambda folder: secret(folder),
    "there is no certificate in it": lambda folder: Secret("s", b"junk", b"junk"),
    "not a certificate": lambda folder: Secret("s", (folder / "a.pem").read_bytes().replace(b"MII", b"AAA", 1), b"k"),
    "the key has a passphrase": lambda folder: Secret("s", (folder / "a.pem").read_bytes(), encrypted(folder)),
    "is not PEM": lambda folder: Secret("s", (folder / "a.pem").read_bytes(), b"junk"),
    "neither a certificate nor a CA": lambda folder: Secret("s"),
    "there is no CA in it": lambda folder: Secret("s", ca_pem=b"junk"),
    "can't be read: permission denied": lambda folder: SecretFault("s", "x can't be read: permission denied"),
}


def encrypted(folder: Path) -> bytes:
    key = serialization.load_pem_private_key((folder / "a-key.pem").read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"word")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_secret_is_refused_with_the_reason_and_the_last_good_one_stays(folder: Path, caplog, reason: str) -> None:
    issue(folder, "old", -0.001)
    told = Told()
    good = secret(folder, "b", "b")
    told.store.offer(good)
    if reason == "is not valid before":
        told.store._wall = lambda: 0.0
    bad = BAD[reason](folder)
    told.store.offer(bad)
    told.store.offer(bad)
    assert told.secrets == [good]
    assert told.store.secrets == {"s": good}
    assert [reason in line and "serves on" in line for line in caplog.messages] == [True]
    assert "PRIVATE KEY" not in caplog.text


def test_what_is_missing_says_why(folder: Path) -> None:
    told = Told()
    told.store.offer(secret(folder, "a", "b"))
    assert told.store.why_missing(["s", "t"]) == [
        "certificate s: the key is not the certificate's",
        "certificate t: it has not come",
    ]


def test_what_nobody_names_is_forgotten_everywhere(folder: Path) -> None:
    told = Told()
    told.store.offer(secret(folder))
    told.store.keep_only(set())
    assert (told.gone, told.store.secrets, told.store.facts()) == (["s"], {}, ())


def test_a_secret_shows_nothing_of_itself(folder: Path) -> None:
    assert repr(secret(folder)) == str(secret(folder)) == "<Secret s>"


async def test_files_are_read_at_once_and_again_when_they_have_changed_and_are_still(folder: Path) -> None:
    source = FileSecrets(0.01)
    files = SecretFiles("s", str(folder / "a.pem"), str(folder / "a-key.pem"))
    assert await source.follow([files]) == [secret(folder)]
    assert await source.follow([files]) == []
    updates = source.updates()
    issue(folder, "a", 7, force=True)
    assert await anext(updates) == secret(folder)
    (folder / "a-key.pem").unlink()
    fault = await anext(updates)
    assert isinstance(fault, SecretFault)
    assert fault.message == f"{folder}/a-key.pem can't be read: no such file or directory"
    await updates.aclose()
