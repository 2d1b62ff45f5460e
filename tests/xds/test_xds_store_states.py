"""The store keeps every state, the pin and what nodes refused, over restarts; and it is one process's."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from turnout.rules.documents.document import Report
from turnout.xds.store.changes import Change
from turnout.xds.store.memory import MAX_REJECTIONS, RejectionMemory
from turnout.xds.store.objects import Key, Objects, StoredObject, read_objects
from turnout.xds.store.refusal import Refusal
from turnout.xds.store.store import Accepted, Rejection, Store, StoreError


def predictor(name: str, port: int = 80) -> StoredObject:
    text = (
        f"apiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {{name: {name}}}\n"
        f"spec: {{endpoints: [{{address: 10.0.0.1, port: {port}}}]}}\n"
    )
    (item,) = read_objects(f"{name}.yaml", text, "api", Report())
    return item


def change(*items: StoredObject, gone: Objects | None = None) -> Change:
    return {**{item.key: item for item in items}, **dict.fromkeys(gone or {})}


def said(objects: Objects) -> dict[str, tuple[str, int]]:
    return {key.name: (item.digest, item.version) for key, item in objects.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "state.db"


@pytest.fixture
def reopen(path: Path) -> Iterator[Callable[[], Store]]:
    """Each call closes the store and opens it again."""
    stores: list[Store] = []

    def reopen() -> Store:
        for store in stores:
            store.close()
        stores.append(Store(path))
        return stores[-1]

    yield reopen
    for store in stores:
        store.close()


def add(store: Store, base: Accepted | None, what: Change, held: bool = False, pin: bool | None = None) -> Accepted:
    return store.add_state(base, what, time=1.5, author="ann", message="why", held=held, pin=pin)


def test_a_new_store_has_no_state(reopen: Callable[[], Store]) -> None:
    store = reopen()
    assert store.accepted() is None
    assert store.history(10) == []
    assert store.pinned() is None


def test_the_newest_state_is_there_after_a_restart(reopen: Callable[[], Store]) -> None:
    store = reopen()
    first = add(store, None, change(predictor("a"), predictor("b")))
    second = add(store, first, change(predictor("a", port=81)))
    again = reopen().accepted()
    assert again is not None
    assert again.state == second.state
    assert said(again.objects) == said(second.objects)
    assert {name: version for name, (_, version) in said(again.objects).items()} == {"a": 2, "b": 1}


def test_every_earlier_state_can_be_read(reopen: Callable[[], Store]) -> None:
    store = reopen()
    accepted, told = None, []
    for step in (
        change(predictor("a")),
        change(predictor("b")),
        change(predictor("a", port=81)),
        change(gone={predictor("b").key: predictor("b")}),
        change(predictor("b", port=82)),
    ):
        accepted = add(store, accepted, step)
        told.append(accepted)
    store = reopen()
    assert [state.number for state in store.history(10)] == [5, 4, 3, 2, 1]
    assert [state.number for state in store.history(2, before=4)] == [3, 2]
    for state, objects in told:
        assert said(store.objects_at(state)) == said(objects)


def test_a_held_state_is_in_the_history_and_not_in_what_is_accepted(reopen: Callable[[], Store]) -> None:
    store = reopen()
    first = add(store, None, change(predictor("a"), predictor("b")))
    held = add(store, first, change(predictor("a", port=81), gone={predictor("b").key: predictor("b")}), held=True)
    second = add(store, first, change(predictor("c")))
    store = reopen()
    again = store.accepted()
    assert again is not None
    assert said(again.objects) == said(second.objects)
    assert said(store.objects_at(held.state)) == said(held.objects)
    assert store.newest_with_hash(held.state.hash) == held.state


def test_the_pin_is_kept(reopen: Callable[[], Store]) -> None:
    store = reopen()
    first = add(store, None, change(predictor("a")))
    second = add(store, first, {}, pin=True)
    third = add(store, second, change(predictor("b")))
    store = reopen()
    assert store.pinned() == second.state
    add(store, third, change(predictor("c")), pin=False)
    assert reopen().pinned() is None


def test_an_object_that_was_moved_is_where_it_is(reopen: Callable[[], Store]) -> None:
    store = reopen()
    first = add(store, None, change(predictor("a")))
    (item,) = first.objects.values()
    (moved,) = read_objects("other.yaml", f"# down\n{item.text}", "api", Report())
    store.move([StoredObject(moved.key, "api", moved.text, moved.file, 2, moved.digest, moved.document, item.version)])
    again = reopen().accepted()
    assert again is not None
    assert again.objects[item.key].place == "other.yaml:2"


def test_a_state_is_found_by_the_first_digits_of_its_hash(reopen: Callable[[], Store]) -> None:
    store = reopen()
    first = add(store, None, change(predictor("a")))
    second = add(store, first, change(predictor("a", port=81)))
    third = add(store, second, change(predictor("a")))
    assert first.state.hash == third.state.hash
    assert store.find_state(first.state.hash[:6]) == third.state, "the newest of those that say the same"
    for name in ("abc", "xyz1", "%%%%", "0000000000000000000"):
        with pytest.raises(Refusal) as refused:
            store.find_state(name)
        assert refused.value.code == "not-found"


def test_the_files_of_a_store_are_for_nobody_elses_eyes(path: Path, reopen: Callable[[], Store]) -> None:
    add(reopen(), None, change(predictor("a")))
    assert {file.stat().st_mode & 0o077 for file in path.parent.glob("state.db*") if file.stat().st_size} == {0}


def test_a_second_control_plane_is_kept_out(path: Path, reopen: Callable[[], Store]) -> None:
    reopen()
    with pytest.raises(StoreError, match="in use"):
        Store(path)


def test_a_file_that_is_no_store_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database " * 1000)
    for _ in range(2):  # the first leaves no lock behind
        with pytest.raises(StoreError, match=r"state\.db"):
            Store(path)


def test_a_store_that_is_damaged_or_full_says_so_and_where(path: Path, reopen: Callable[[], Store]) -> None:
    store = reopen()
    base = add(store, None, change(predictor("a")))
    with store._engine.connect() as connection:
        connection.execute(sa.text("PRAGMA max_page_count = 1"))  # it has more already, and gets no other
    much = change(*(predictor(f"more-{n}") for n in range(500)))
    with pytest.raises(StoreError, match=r"state\.db: .*full"):
        add(store, base, much)
    assert reopen().accepted() is not None
    store = reopen()
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"?" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"state\.db: .*malformed"):
        reopen().accepted()


def test_a_store_of_another_version_is_refused(path: Path, reopen: Callable[[], Store]) -> None:
    reopen().close()
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE facts SET value = 99 WHERE name = 'schema'"))
    engine.dispose()
    with pytest.raises(StoreError, match="another version"):
        Store(path)


def test_writes_are_on_the_disk_when_they_return(reopen: Callable[[], Store]) -> None:
    with reopen()._engine.connect() as connection:
        assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sa.text("PRAGMA synchronous")) == 2  # FULL


# What nodes refused


def flush(store: Store, memory: RejectionMemory) -> None:
    assert memory.has_news()
    store.write_rejections(*memory.take_news())
    assert not memory.has_news()


def test_what_a_node_refused_is_remembered_until_it_is_forgiven(reopen: Callable[[], Store]) -> None:
    store = reopen()
    memory = RejectionMemory(store)
    memory.reject("node", "type", "name", "v1")
    memory.reject("node", "type", "name", "v2")
    memory.reject("node", "type", "other", "v1")
    assert not memory.is_rejected("node", "type", "name", "v1")
    assert memory.is_rejected("node", "type", "name", "v2")
    assert not memory.is_rejected("stranger", "type", "name", "v2")
    flush(store, memory)
    memory = RejectionMemory(store := reopen())
    assert memory.is_rejected("node", "type", "name", "v2")
    memory.forgive("node", "type", "name")
    memory.forgive("node", "type", "never rejected")
    flush(store, memory)
    assert store.rejections() == [Rejection("node", "type", "other", "v1")]


def test_what_came_and_went_between_two_writes_leaves_nothing(reopen: Callable[[], Store]) -> None:
    store = reopen()
    memory = RejectionMemory(store)
    memory.reject("node", "type", "name", "v1")
    memory.forgive("node", "type", "name")
    memory.reject("node", "type", "name", "v2")
    memory.forgive("node", "type", "name")
    flush(store, memory)
    assert store.rejections() == []


def test_strangers_can_not_fill_the_memory(reopen: Callable[[], Store]) -> None:
    store = reopen()
    memory = RejectionMemory(store)
    for number in range(MAX_REJECTIONS + 10):
        memory.reject(f"node-{number}", "type", "name", "v1")
    memory.reject("x" * 10_000, "type", "name", "v1")
    flush(store, memory)
    found = store.rejections()
    assert len(found) == MAX_REJECTIONS
    assert not memory.is_rejected("node-9", "type", "name", "v1")
    assert memory.is_rejected("node-10", "type", "name", "v1")


def test_keys_read_well() -> None:
    assert str(Key("HTTPRoute", "default", "iris")) == "HTTPRoute default/iris"
