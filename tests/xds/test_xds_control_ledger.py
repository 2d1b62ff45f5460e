"""Who may change what, what errors leave as it was, and how a rollback keeps the files out."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from turnout.rules.files import Files
from turnout.xds.control.ledger import Ledger, Signature, Text
from turnout.xds.store.objects import Key
from turnout.xds.store.refusal import Refusal
from turnout.xds.store.store import Store, StoreError

ANN = Signature("ann", "why")
IRIS = Key("HTTPRoute", "default", "iris")


def predictor(name: str, port: int = 80, more: str = "") -> str:
    return (
        f"---\napiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {{name: {name}{more}}}\n"
        f"spec: {{endpoints: [{{address: 10.0.0.1, port: {port}}}]}}\n"
    )


def route(*weights: int, more: str = "") -> str:
    refs = ", ".join(f"{{name: v{number}, weight: {weight}}}" for number, weight in enumerate(weights))
    return (
        f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: iris{more}}}\n"
        f"spec: {{rules: [{{backendRefs: [{refs}]}}]}}\n"
    )


def files(**texts: str) -> Files:
    return Files({f"{name}.yaml": text.encode() for name, text in texts.items()}, [])


BASE = files(models=predictor("v0") + predictor("v1"), iris=route(90, 10))


class Desk:
    """A ledger, and its successor over the same store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.open()

    def open(self) -> None:
        self.store = Store(self.path)
        self.ledger = Ledger(self.store, lambda: self.now)

    def restart(self) -> None:
        self.store.close()
        self.open()

    def hash(self) -> str:
        assert self.ledger.accepted is not None
        return self.ledger.accepted.state.hash

    def apply(self, text: str, name: str = "request") -> dict[str, str]:
        """What became of each object."""
        applied = self.ledger.apply([Text(name, text)], ANN)
        return {key.name: "changed" if key in applied.change else "unchanged" for key in applied.given}

    def messages(self) -> list[str]:
        return [f"{state.author}: {state.message}" for state in reversed(self.store.history(100))]

    def version(self, key: Key) -> str:
        return str(self.ledger.objects[key].version)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "state.db")
    yield desk
    desk.store.close()


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value


# Files


def test_files_become_a_state_with_author_time_and_message(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    (state,) = desk.store.history(10)
    assert (state.author, state.time, state.message) == ("files", 1000.0, "3 objects of iris.yaml, models.yaml")
    assert {item.owner for item in desk.ledger.objects.values()} == {"file"}


def test_files_replace_exactly_what_files_own(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    desk.apply(predictor("mine"))
    desk.ledger.take_files(files(models=predictor("v0"), iris=route(100)))
    assert sorted(key.name for key in desk.ledger.objects) == ["iris", "mine", "v0"]


def test_files_that_say_the_same_are_no_new_state(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    desk.restart()
    moved = files(models=predictor("v1") + predictor("v0"), iris="# a comment\n" + route(90, 10))
    desk.ledger.take_files(moved)
    assert len(desk.store.history(10)) == 1
    desk.restart()
    assert desk.ledger.objects[IRIS].place == "iris.yaml:2", "but places are followed"


@pytest.mark.parametrize(
    "texts",
    [
        files(models=predictor("v0", port=0), iris=route(1)),
        files(models="{"),
        files(models=predictor("v0") * 2),
        files(models=predictor("v0", more=", annotations: {turnout.dev/proxies: 'app in'}")),
        files(),
        Files({}, [("gone.yaml", "not-found", "there is no such file")]),
        Files({"latin.yaml": b"\xff"}, []),
    ],
)
def test_files_with_errors_leave_the_last_good_state(desk: Desk, texts: Files) -> None:
    desk.ledger.take_files(BASE)
    before = desk.hash()
    desk.ledger.take_files(texts)
    assert desk.ledger.file_faults
    assert desk.hash() == before
    desk.ledger.take_files(BASE)
    assert desk.ledger.file_faults == ()


def test_a_file_can_not_take_what_the_api_made(desk: Desk) -> None:
    desk.apply(predictor("v0"))
    desk.ledger.take_files(files(models=predictor("v0", port=81)))
    (fault,) = desk.ledger.file_faults
    assert (fault.code, fault.origin.file, fault.origin.line) == ("owned-by-api", "models.yaml", 1)


def test_a_file_has_what_it_could_not_take_once_the_api_deletes_it(desk: Desk) -> None:
    desk.apply(predictor("v0", port=81))
    desk.ledger.take_files(BASE)
    assert [fault.code for fault in desk.ledger.file_faults] == ["owned-by-api"]
    desk.ledger.delete(Key("Predictor", "default", "v0"), None, ANN)
    assert desk.ledger.file_faults == ()
    assert {(key.name, item.owner) for key, item in desk.ledger.objects.items()} == {
        ("iris", "file"), ("v0", "file"), ("v1", "file")
    }  # fmt: skip


def test_without_files_what_they_owned_belongs_to_the_api(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    desk.restart()
    desk.ledger.adopt_files()
    desk.ledger.adopt_files()
    assert {item.owner for item in desk.ledger.objects.values()} == {"api"}
    assert len(desk.store.history(10)) == 2
    assert desk.apply(route(80, 20)) == {"iris": "changed"}


# The API


def test_an_apply_creates_changes_and_leaves(desk: Desk) -> None:
    assert desk.apply(predictor("v0") + predictor("v1") + route(90, 10)) == dict.fromkeys(
        ("v0", "v1", "iris"), "changed"
    )
    assert desk.apply(predictor("v0") + predictor("v1") + route(50, 50)) == {
        "v0": "unchanged", "v1": "unchanged", "iris": "changed",
    }  # fmt: skip
    assert desk.messages() == ["ann: why"] * 2


def test_an_apply_that_changes_nothing_is_no_new_state(desk: Desk) -> None:
    desk.apply(predictor("v0"))
    assert desk.apply(predictor("v0")) == {"v0": "unchanged"}
    assert len(desk.store.history(10)) == 1


def test_an_apply_is_whole_or_not_at_all(desk: Desk) -> None:
    refusal = refused(lambda: desk.apply(predictor("v0") + predictor("v1", port=0), "mine.yaml"))
    assert refusal.code == "invalid"
    assert [(f.origin.file, f.origin.line) for f in refusal.findings] == [("mine.yaml", 10)]
    assert desk.ledger.accepted is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_an_apply_of_nothing_is_refused(desk: Desk, text: str) -> None:
    assert refused(lambda: desk.apply(text)).code == "invalid"


def test_what_a_file_owns_is_refused_with_the_name_of_the_file(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    for call in (lambda: desk.apply(route(1)), lambda: desk.ledger.delete(IRIS, None, ANN)):
        refusal = refused(call)
        assert refusal.code == "conflict"
        assert "iris.yaml:1" in refusal.message


def test_an_older_base_is_refused_and_none_means_the_last_writer_wins(desk: Desk) -> None:
    desk.apply(predictor("v0") + route(1))
    base = desk.version(IRIS)
    desk.apply(predictor("v0", port=81))
    assert desk.version(IRIS) == base, "another object's change is not this one's"
    assert desk.apply(route(2, more=f", resourceVersion: '{base}'")) == {"iris": "changed"}
    refusal = refused(lambda: desk.apply(route(3, more=f", resourceVersion: '{base}'")))
    assert (refusal.code, base in refusal.message) == ("conflict", True)
    assert refused(lambda: desk.ledger.delete(IRIS, base, ANN)).code == "conflict"
    assert desk.apply(route(4)) == {"iris": "changed"}
    desk.ledger.delete(IRIS, desk.version(IRIS), ANN)
    assert refused(lambda: desk.apply(route(5, more=f", resourceVersion: '{base}'"))).code == "conflict"
    assert refused(lambda: desk.ledger.delete(IRIS, None, ANN)).code == "not-found"


def test_warnings_are_about_all_that_is_there(desk: Desk) -> None:
    desk.apply(predictor("v0"))
    assert [warning.code for warning in desk.ledger.warnings] == ["unused-predictor"]
    desk.restart()
    assert [warning.code for warning in desk.ledger.warnings] == ["unused-predictor"]
    desk.apply(route(1))
    assert desk.ledger.warnings == ()


# Rollback and resume


def test_a_rollback_is_a_new_state_that_is_pinned(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    good = desk.hash()
    changed = files(models=predictor("v0") + predictor("v1"), iris=route(0, 100))
    desk.ledger.take_files(changed)
    bad = desk.hash()
    target = desk.ledger.roll_back(good[:8], ANN)
    assert (target.number, desk.hash()) == (1, good)
    assert desk.messages()[-1] == "ann: why"
    assert desk.ledger.held is not None
    assert (desk.ledger.held.hash, desk.ledger.held.number) == (bad, 2), "what a resume would bring back"
    assert len(desk.store.history(10)) == 3


def test_files_that_change_under_a_pin_are_checked_recorded_and_held(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    good = desk.hash()
    desk.ledger.roll_back(good, ANN)
    assert desk.ledger.held is None
    desk.ledger.take_files(files(models=predictor("v0", port=0)))
    assert desk.ledger.file_faults
    changed = files(models=predictor("v0"), iris=route(100))
    for _ in range(2):
        desk.ledger.take_files(changed)
    assert desk.hash() == good
    assert desk.ledger.held is not None
    assert [state.held for state in desk.store.history(10)] == [True, False, False]
    desk.ledger.take_files(BASE)
    assert desk.ledger.held is None


def test_a_restart_keeps_the_pin(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    good = desk.hash()
    desk.ledger.roll_back(good, ANN)
    changed = files(models=predictor("v0"), iris=route(100))
    desk.ledger.take_files(changed)
    held = desk.ledger.held
    desk.restart()
    desk.ledger.take_files(changed)
    assert desk.hash() == good
    assert desk.ledger.held == held
    assert len(desk.store.history(10)) == 3


def test_resume_takes_what_the_files_say_now(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    desk.apply(predictor("mine"))
    desk.ledger.roll_back(desk.hash(), ANN)
    desk.ledger.take_files(files(models=predictor("v0"), iris=route(100)))
    assert desk.ledger.held is not None
    wanted = desk.ledger.held.hash
    desk.ledger.resume(Signature("bob", "go on"))
    assert (desk.hash(), desk.ledger.pinned, desk.ledger.held) == (wanted, None, None)
    assert desk.messages()[-1] == "bob: go on"
    assert Key("Predictor", "default", "mine") in desk.ledger.objects
    desk.restart()
    assert desk.ledger.pinned is None
    assert refused(lambda: desk.ledger.resume(ANN)).code == "conflict"


def test_a_resume_that_can_not_be_stored_leaves_the_pin(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreError("state.db: database or disk is full")

    desk.ledger.take_files(BASE)
    desk.ledger.roll_back(desk.hash(), ANN)
    desk.ledger.take_files(files(models=predictor("v0"), iris=route(100)))
    before = desk.ledger.pinned, desk.ledger.held
    with monkeypatch.context() as full:
        full.setattr(desk.store, "add_state", fail)
        full.setattr(desk.store, "pinned", fail)
        with pytest.raises(StoreError):
            desk.ledger.resume(ANN)
    assert (desk.ledger.pinned, desk.ledger.held) == before
    desk.ledger.resume(ANN)
    assert desk.ledger.pinned is None


def test_resume_without_a_change_takes_the_pin_away(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    desk.ledger.roll_back(desk.hash(), ANN)
    desk.ledger.resume(ANN)
    desk.restart()
    assert desk.ledger.pinned is None
    assert len(desk.store.history(10)) == 2


def test_resume_with_files_that_have_errors_leaves_the_state_and_follows_them_again(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    good = desk.hash()
    desk.ledger.roll_back(good, ANN)
    desk.ledger.take_files(files(models="{"))
    desk.ledger.resume(ANN)
    assert (desk.hash(), desk.ledger.pinned, bool(desk.ledger.file_faults)) == (good, None, True)
    desk.ledger.take_files(files(models=predictor("v0"), iris=route(100)))
    assert desk.hash() != good


def test_the_api_may_change_its_own_under_a_pin(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    desk.ledger.roll_back(desk.hash(), ANN)
    assert desk.apply(predictor("mine")) == {"mine": "changed"}
    assert desk.ledger.pinned is not None


def test_what_is_held_is_what_a_resume_makes_also_after_the_api_changed_its_own(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    desk.ledger.roll_back(desk.hash(), ANN)
    desk.ledger.take_files(files(models=predictor("v0"), iris=route(100)))
    desk.apply(predictor("mine"))
    assert desk.ledger.held is not None
    held = desk.ledger.held.hash
    desk.ledger.resume(ANN)
    assert desk.hash() == held


def test_a_rollback_brings_owners_back_and_takes_later_objects_away(desk: Desk) -> None:
    desk.apply(predictor("v0"))
    first = desk.hash()
    desk.apply(predictor("v1"))
    desk.ledger.roll_back(first, ANN)
    assert [key.name for key in desk.ledger.objects] == ["v0"]


def test_a_state_that_was_only_held_can_not_be_returned_to(desk: Desk) -> None:
    desk.ledger.take_files(BASE)
    desk.ledger.roll_back(desk.hash(), ANN)
    desk.ledger.take_files(files(models=predictor("v0"), iris=route(100)))
    assert desk.ledger.held is not None
    assert refused(lambda: desk.ledger.roll_back(desk.ledger.held.hash, ANN)).code == "conflict"


def test_a_stored_state_that_is_not_right_any_more_can_be_mended(desk: Desk) -> None:
    """As after an update to a version that is stricter."""
    desk.apply(predictor("v0"))
    (item,) = desk.ledger.objects.values()
    desk.store.move([msgspec.structs.replace(item, text=item.text.replace("10.0.0.1", "no address"))])
    desk.restart()
    assert refused(lambda: desk.apply(predictor("v1"))).code == "invalid"
    assert set(desk.apply(predictor("v0"))) == {"v0"}
    assert desk.apply(predictor("v1")) == {"v1": "changed"}
