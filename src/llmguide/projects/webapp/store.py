"""The database of an application: documents, the model's responses, and the users' feedback on them.

The database is SQLite in a file, or PostgreSQL by its URL, through SQLAlchemy Core. Each write is a
transaction of its own and is on disk before the call returns, so whatever a user has seen on the page
survives a crash. An answer is stored piece by piece, so a partial one survives, too.

A SQLite database can be read by its owner only. Data stay until you delete the files ``app.sqlite``,
``app.sqlite-wal`` and ``app.sqlite-shm``; then the next start creates an empty database.

Leaves out: accounts, since an application serves the user of this machine; and migrations, since its tables
have not changed yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, create_engine, event, insert, make_url, select, update
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from llmguide.projects.webapp.access import make_private
from llmguide.projects.webapp.tables import ANSWERS, DOCUMENTS, FEEDBACK, TABLES

BUSY_MS = 10_000  # milliseconds that a write waits for a lock of another program


class Preference(NamedTuple):
    """Two answers to the same prompt, one liked and one disliked.

    Attributes:
        prompt: Prompt of the model.
        settings: Settings of the liked answer.
        chosen: Text of the liked answer.
        rejected: Text of the disliked answer.
    """

    prompt: dict[str, Any]
    settings: dict[str, Any]
    chosen: str
    rejected: str


class Rating(NamedTuple):
    """A liked or disliked answer.

    Attributes:
        settings: Choices of the user and retrieved data.
        text: Text of the answer.
        verdict: 1 for a like, -1 for a dislike.
    """

    settings: dict[str, Any]
    text: str
    verdict: int


class UnavailableError(RuntimeError):
    """The database is locked by another program or cannot be reached."""


class Store:
    """The database of one application.

    Each method raises `UnavailableError` if the database cannot be used now.

    Args:
        url: URL ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/NAME``; ``postgres://`` is the same.
        application: Name of the application; several can share a database.

    Raises:
        ValueError: The URL is not a database URL, or the database cannot be reached.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     store = Store(f"sqlite:///{folder}/notes.sqlite", "notes")
    ...     one = store.add_document("A note", "Once")
    ...     answer = store.begin(one, {"prompt": "Once"}, {})
    ...     store.append(answer, " upon")
    ...     store.append(answer, " a time")
    ...     store.end(answer, "done")
    ...     _ = store.rate(answer, 1, "")
    ...     found = store.document(one)["answers"][0]
    ...     store.close()
    >>> found["text"], found["state"], found["verdict"]
    (' upon a time', 'done', 1)
    """

    def __init__(self, url: str, application: str):
        self.application = application
        try:
            address = make_url(url)
        except (ArgumentError, ValueError):  # what was given, and the error, may contain a password
            raise ValueError("--database is not a URL such as sqlite:///notes.sqlite") from None
        try:
            if address.drivername in {"postgres", "postgresql"}:  # hosts hand out both
                address = address.set(drivername="postgresql+psycopg")
            self.kind = address.get_backend_name()
            if self.kind not in {"sqlite", "postgresql"}:
                raise ValueError(
                    f"--database {address.drivername}://... must be sqlite:///PATH or postgresql://..."
                )
            if self.kind == "sqlite" and "uri" in address.query:  # opens another file than the private one
                raise ValueError("--database must be sqlite:///PATH, without uri=true")
            if self.kind == "sqlite" and address.database not in {None, "", ":memory:"}:
                make_private(Path(str(address.database)))
            # hidden, or users' texts would be in error messages and so in the log
            self._engine = create_engine(address, pool_pre_ping=True, hide_parameters=True)
            if self.kind == "sqlite":
                event.listen(self._engine, "connect", _careful)
            TABLES.create_all(self._engine)
            # answers of a killed server; a server that is still running sets its final state itself
            self._write(update(ANSWERS).where(ANSWERS.c.state == "writing").values(state="stopped"))
        except (DatabaseError, UnavailableError) as error:
            hidden = address.set(query={}).render_as_string(hide_password=True)
            reason = error.orig if isinstance(error, DatabaseError) else error
            raise ValueError(f"the database {hidden} cannot be used: {reason}") from error

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def check(self) -> None:
        """Raise `UnavailableError` if the database does not answer."""
        self._read(select(1))

    def documents(self) -> list[dict[str, Any]]:
        """List the documents without their content, last changed first."""
        columns = (DOCUMENTS.c.id, DOCUMENTS.c.title, DOCUMENTS.c.changed)
        mine = DOCUMENTS.c.application == self.application
        return self._read(select(*columns).where(mine).order_by(DOCUMENTS.c.changed.desc()))

    def document(self, document: str, newest: int | None = None) -> dict[str, Any] | None:
        """Return a document with its answers in order, each with its feedback.

        Args:
            document: Id of the document.
            newest: Number of latest answers to return; None: all.

        Returns:
            The document; None if there is none with that id.
        """
        found = self._read(
            select(DOCUMENTS).where(DOCUMENTS.c.id == document, DOCUMENTS.c.application == self.application)
        )
        if not found:
            return None
        answers = self._read(
            select(ANSWERS, FEEDBACK.c.verdict, FEEDBACK.c.comment)
            .outerjoin(FEEDBACK)
            .where(ANSWERS.c.document == document)
            .order_by(ANSWERS.c.begun.desc())
            .limit(newest)
        )
        return found[0] | {"answers": answers[::-1]}

    def add_document(self, title: str, content: str) -> str:
        """Create a document.

        Returns:
            Its name.
        """
        row = {"id": uuid4().hex, "application": self.application, "title": title, "content": content}
        self._write(insert(DOCUMENTS).values(**row, version=1, changed=_now()))
        return row["id"]

    def change_document(self, document: str, title: str, content: str, *, version: int) -> bool:
        """Change a document if its version is still the given one (optimistic locking).

        Returns:
            Whether it was changed.
        """
        return self._write(
            update(DOCUMENTS)
            .where(
                DOCUMENTS.c.id == document,
                DOCUMENTS.c.application == self.application,
                DOCUMENTS.c.version == version,
            )
            .values(title=title, content=content, version=version + 1, changed=_now())
        )

    def begin(self, document: str, prompt: dict[str, Any], settings: dict[str, Any]) -> str:
        """Create an answer, with no text yet.

        Returns:
            Its name.
        """
        row = {"id": uuid4().hex, "document": document, "begun": _now(), "prompt": prompt}
        self._write(insert(ANSWERS).values(**row, settings=settings, text="", state="writing"))
        return str(row["id"])

    def append(self, answer: str, piece: str) -> None:
        """Append a piece of text to an answer."""
        self._write(update(ANSWERS).where(ANSWERS.c.id == answer).values(text=ANSWERS.c.text + piece))

    def end(self, answer: str, state: str) -> None:
        """Set the final state of an answer: ``done``, ``stopped`` or ``failed``."""
        self._write(update(ANSWERS).where(ANSWERS.c.id == answer).values(state=state))

    def rate(self, answer: str, verdict: int, comment: str) -> bool:
        """Store feedback on an answer, in place of earlier feedback: 1, -1, or 0 to withdraw it.

        Returns:
            Whether there is such an answer.
        """
        mine = (ANSWERS.c.id == answer, DOCUMENTS.c.application == self.application)
        said = {"verdict": verdict, "comment": comment, "given": _now()}
        with self._begin() as connection:
            # locks the answer, which serializes concurrent feedback
            known = select(ANSWERS.c.id).join(DOCUMENTS).where(*mine).with_for_update()
            if connection.execute(known).first() is None:
                return False
            changed = connection.execute(update(FEEDBACK).where(FEEDBACK.c.answer == answer).values(**said))
            if not changed.rowcount:
                connection.execute(insert(FEEDBACK).values(answer=answer, **said))
        return True

    def ratings(self) -> list[Rating]:
        """Return the liked and disliked answers, in order of the answers."""
        return [Rating(row["settings"], row["text"], row["verdict"]) for row in self._rated()]

    def preferences(self) -> list[Preference]:
        """Pair each liked answer with each disliked one to the same prompt, in order of the answers."""
        rows = self._rated()
        return [
            Preference(liked["prompt"], liked["settings"], liked["text"], other["text"])
            for liked in rows
            for other in rows
            if (liked["verdict"], other["verdict"]) == (1, -1)
            and _asked(liked) == _asked(other)
            and liked["text"] != other["text"]
        ]

    def _rated(self) -> list[dict[str, Any]]:
        return self._read(
            select(ANSWERS.c.prompt, ANSWERS.c.settings, ANSWERS.c.text, FEEDBACK.c.verdict)
            .join(FEEDBACK)
            .join(DOCUMENTS, DOCUMENTS.c.id == ANSWERS.c.document)
            .where(DOCUMENTS.c.application == self.application, ANSWERS.c.text != "", FEEDBACK.c.verdict != 0)
            .order_by(ANSWERS.c.begun)
        )

    def _read(self, query: Any) -> list[dict[str, Any]]:
        with self._begin() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _write(self, change: Any) -> bool:
        with self._begin() as connection:
            return bool(connection.execute(change).rowcount)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (OperationalError, PoolTimeoutError) as error:
            message = "the database is locked by another program or cannot be reached; try again in a while"
            raise UnavailableError(message) from error


def _asked(row: dict[str, Any]) -> dict[str, Any]:
    """Return the input of the model, without its sampling options."""
    drawing = {"seed", "temperature", "max_tokens", "stop"}
    return {name: value for name, value in row["prompt"].items() if name not in drawing}


def _careful(connection: Any, _: Any) -> None:
    """Set SQLite to write-ahead logging, full synchronization and enforced foreign keys."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
