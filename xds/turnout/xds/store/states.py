"""A state: what was accepted at a moment, by whom and why. And the tables in which the store keeps all of them.

A state holds the objects that changed in it; an object stands as in its last change that was accepted. So a change of
one object of thousands is one row, and every state there ever was can be read again.
"""

import msgspec
import sqlalchemy as sa

SCHEMA = 1
"""Of the tables; a store of another one is not opened."""


class State(msgspec.Struct, frozen=True):
    """One line of the history. `time` is in seconds since the epoch.

    `held`: files that were right, but were not taken since an earlier state was pinned. It builds on `parent`.
    """

    number: int
    hash: str
    parent: int | None
    time: float
    author: str
    message: str
    held: bool = False


tables = sa.MetaData()

facts = sa.Table(
    "facts",
    tables,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)

states = sa.Table(
    "states",
    tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.Text, nullable=False, index=True),
    sa.Column("parent", sa.Integer),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),
)

revisions = sa.Table(
    "revisions",
    tables,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("namespace", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("state", sa.ForeignKey("states.number"), primary_key=True, index=True),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("text", sa.Text, comment="null: deleted in this state"),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("line", sa.Integer, nullable=False),
)

rejections = sa.Table(
    "rejections",
    tables,
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
)
