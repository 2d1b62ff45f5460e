"""The store: every accepted state in one SQLite file. The truth of a control plane.

* A state is written whole, in one transaction that is on the disk when it ends (WAL, synchronous=FULL), and before
  anything of it is told to a proxy. So a crash loses nothing that somebody was told is accepted.
* One process at a time: a lock file beside the database keeps a second one out.
* All of it blocks: to be called in a thread, by one caller at a time.
* Whatever SQLite says is a StoreError: a full disk, a file that somebody else has locked for 5 s, a damaged page.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import sqlalchemy as sa

from turnout.xds.store.changes import Change, apply_change
from turnout.xds.store.objects import Key, Objects, StoredObject, hash_objects, load_object
from turnout.xds.store.refusal import Refusal
from turnout.xds.store.states import SCHEMA, State, facts, rejections, revisions, states, tables

PIN = "pin"
MIN_PREFIX = 4
"""Digits of a hash that are enough to name it, if they are enough to tell it from the others."""


class StoreError(Exception):
    """The store can't be opened, read or written; the text says why."""


class Accepted(NamedTuple):
    """The newest accepted state and all objects as they stand in it."""

    state: State
    objects: dict[Key, StoredObject]


class Rejection(NamedTuple):
    """A version of a resource that a node has refused."""

    node: str
    type_url: str
    name: str
    version: str


class Store:
    """Opens or makes the database at `path`. Raises StoreError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = _lock(self.path)
        try:
            self._engine = _open(self.path)
        except StoreError:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let go of the file. Closing twice does nothing."""
        self._engine.dispose()
        self._lock.close()

    # States

    def accepted(self) -> Accepted | None:
        """Where the store stands; None before the first state. Raises StoreError if it can't be read any more."""
        query = sa.select(states).where(~states.c.held).order_by(states.c.number.desc()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        state = State(**row._mapping)
        return Accepted(state, self.objects_at(state))

    def objects_at(self, state: State) -> dict[Key, StoredObject]:
        """All objects as they stand in a state. Raises StoreError if one can't be read any more."""
        upto = (state.parent or 0) if state.held else state.number
        last = (
            sa.select(
                revisions,
                sa.func.row_number()
                .over(
                    partition_by=(revisions.c.kind, revisions.c.namespace, revisions.c.name),
                    order_by=revisions.c.state.desc(),
                )
                .label("age"),
            )
            .where(~revisions.c.held, revisions.c.state <= upto)
            .subquery()
        )
        own = sa.select(revisions).where(revisions.c.state == state.number)
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(last).where(last.c.age == 1, last.c.text.is_not(None))).all()
            held = connection.execute(own).all() if state.held else []
        base = {item.key: item for item in map(_load, rows)}
        change: Change = {Key(row.kind, row.namespace, row.name): _load(row) if row.text else None for row in held}
        return apply_change(base, change, state.number) if held else base

    def add_state(
        self,
        base: Accepted | None,
        change: Change,
        *,
        time: float,
        author: str,
        message: str,
        held: bool = False,
        pin: bool | None = None,
    ) -> Accepted:
        """Write a new state. `pin` True pins it, False takes the pin away, None leaves it as it is."""
        with self._engine.begin() as connection:
            number = (connection.scalar(sa.select(sa.func.max(states.c.number))) or 0) + 1
            objects = apply_change(base.objects if base else {}, change, number)
            state = State(
                number, hash_objects(objects.values()), base.state.number if base else None, time, author, message, held
            )
            connection.execute(states.insert().values(**_row(state)))
            if change:
                connection.execute(revisions.insert(), [_revision(k, x, state, base) for k, x in change.items()])
            if pin is not None:
                _set_pin(connection, number if pin else None)
        return Accepted(state, objects)

    def move(self, moved: Iterable[StoredObject]) -> None:
        """Keep the new text and place of objects that say what they said before."""
        with self._engine.begin() as connection:
            for item in moved:
                kind, namespace, name = item.key
                connection.execute(
                    revisions.update()
                    .where(
                        revisions.c.kind == kind,
                        revisions.c.namespace == namespace,
                        revisions.c.name == name,
                        revisions.c.state == item.version,
                    )
                    .values(text=item.text, file=item.file, line=item.line)
                )

    def history(self, limit: int, before: int | None = None) -> list[State]:
        """States, the newest first, from below the number `before` on."""
        query = sa.select(states).order_by(states.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(states.c.number < before)
        with self._engine.connect() as connection:
            return [State(**row._mapping) for row in connection.execute(query)]

    def find_state(self, name: str) -> State:
        """The newest state whose hash begins so. Raises Refusal if there is none, or several hashes do."""
        if len(name) < MIN_PREFIX or not all(c in "0123456789abcdef" for c in name):
            raise Refusal("not-found", f"{name!r} is not a state: {MIN_PREFIX} or more digits of its hash are needed")
        query = sa.select(states).where(states.c.hash.startswith(name)).order_by(states.c.number.desc())
        with self._engine.connect() as connection:
            found = [State(**row._mapping) for row in connection.execute(query)]
        if not found:
            raise Refusal("not-found", f"there is no state {name}")
        hashes = sorted({state.hash for state in found})
        if len(hashes) > 1:
            raise Refusal("ambiguous", f"several states begin with {name}: {', '.join(hashes[:5])}")
        return found[0]

    def newest_with_hash(self, hash_: str) -> State | None:
        """The newest state with just this hash, accepted or held."""
        query = sa.select(states).where(states.c.hash == hash_).order_by(states.c.number.desc()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else State(**row._mapping)

    # The pin

    def pinned(self) -> State | None:
        """The state that is pinned."""
        query = sa.select(states).join(facts, facts.c.value == states.c.number).where(facts.c.name == PIN)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else State(**row._mapping)

    def unpin(self) -> None:
        """Take the pin away."""
        with self._engine.begin() as connection:
            _set_pin(connection, None)

    # What nodes have refused

    def rejections(self) -> list[Rejection]:
        """All that were written, in their order."""
        columns = (rejections.c.node, rejections.c.type, rejections.c.name, rejections.c.version)
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).order_by(sa.text("rowid"))).all()
        return [Rejection(*row) for row in rows]

    def write_rejections(self, gone: Iterable[Rejection], new: Iterable[Rejection]) -> None:
        """Take some out, then put some in."""
        with self._engine.begin() as connection:
            for x in (*gone, *(new := list(new))):
                connection.execute(
                    rejections.delete().where(
                        rejections.c.node == x.node, rejections.c.type == x.type_url, rejections.c.name == x.name
                    )
                )
            if new:
                rows = [{"node": x.node, "type": x.type_url, "name": x.name, "version": x.version} for x in new]
                connection.execute(rejections.insert(), rows)


def _row(state: State) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__struct_fields__}


def _revision(key: Key, item: StoredObject | None, state: State, base: Accepted | None) -> dict[str, Any]:
    objects: Objects = base.objects if base else {}
    known = item or objects[key]
    return {
        "kind": key.kind,
        "namespace": key.namespace,
        "name": key.name,
        "state": state.number,
        "held": state.held,
        "owner": known.owner,
        "text": item.text if item else None,
        "file": known.file,
        "line": known.line,
    }


def _load(row: Any) -> StoredObject:
    try:
        return load_object(row.text, row.file, row.line, row.owner, row.state)
    except ValueError as error:
        fault = f"{row.kind} {row.namespace}/{row.name} of state {row.state} can't be read any more: {error}"
        raise StoreError(fault) from error


def _set_pin(connection: sa.Connection, number: int | None) -> None:
    connection.execute(facts.delete().where(facts.c.name == PIN))
    if number is not None:
        connection.execute(facts.insert().values(name=PIN, value=number))


def _lock(path: Path) -> Any:
    """The open lock file. Closing it lets go of the lock, and so does the end of the process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(f"{path.name}.lock").open("w")
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StoreError(f"{path} is in use by another control plane") from error
    return file


def _open(path: Path) -> sa.Engine:
    def fail(context: sa.ExceptionContext) -> NoReturn:
        raise StoreError(f"{path}: {context.original_exception}") from context.original_exception

    _make_private(path)
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "handle_error", fail)
    tables.create_all(engine)
    with engine.begin() as connection:
        found = connection.scalar(sa.select(facts.c.value).where(facts.c.name == "schema"))
        if found is None:
            connection.execute(facts.insert().values(name="schema", value=SCHEMA))
        elif found != SCHEMA:
            raise StoreError(f"{path}: it has the tables of another version of Turnout ({found}, not {SCHEMA})")
    return engine


def _make_private(path: Path) -> None:
    """What rules say is nobody else's business. SQLite gives the files beside a database the mode that it has."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _set_up(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")
