import os
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback

import pytest
from sqlalchemy.exc import IntegrityError

from llmguide.projects.webapp.store import Store

NAME = "notes"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    return (
        request.getfixturevalue("postgresql")
        if request.param == "postgresql"
        else f"sqlite:///{tmp_path}/a.sqlite"
    )


@pytest.fixture
def notes(url):
    store = Store(url, NAME)
    yield store
    store.close()


def test_what_is_written_is_there_after_a_restart(notes, url):
    text = "Fröhlich \U0001f600 <b>'; DROP TABLE documents; --"
    one = notes.add_document("First", text)
    answer = notes.begin(one, {"prompt": text, "seed": 1}, {"style": {"tone": "calm"}})
    for piece in ("and", " so", " on"):
        notes.append(answer, piece)
    notes.end(answer, "done")
    assert notes.rate(answer, -1, "dull")
    assert notes.rate(answer, 1, text)
    again = Store(url, NAME)
    found = again.document(one)
    again.close()
    assert (found["title"], found["content"], found["version"]) == ("First", text, 1)
    [row] = found["answers"]
    assert (row["text"], row["state"], row["verdict"], row["comment"]) == ("and so on", "done", 1, text)
    assert (row["prompt"], row["settings"]) == ({"prompt": text, "seed": 1}, {"style": {"tone": "calm"}})


def test_a_change_wants_the_version_that_it_changes(notes):
    one = notes.add_document("", "a")
    assert notes.change_document(one, "T", "b", version=1)
    assert not notes.change_document(one, "T", "c", version=1)
    assert notes.document(one)["content"] == "b"
    assert not notes.change_document("0" * 32, "T", "c", version=1)


def test_of_many_who_change_one_version_one_does(notes):
    one, done = notes.add_document("", ""), []

    def change(i):
        done.append(notes.change_document(one, "", str(i), version=1))

    threads = [threading.Thread(target=change, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False] * 7 + [True]


def test_verdicts_at_the_same_time_are_one(notes):
    answer = notes.begin(notes.add_document("", ""), {}, {})
    done = []
    threads = [threading.Thread(target=lambda: done.append(notes.rate(answer, 1, ""))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 8


def test_applications_do_not_see_each_other(notes, url):
    one = notes.add_document("", "mine")
    answer = notes.begin(one, {}, {})
    other = Store(url, "letters")
    assert other.document(one) is None
    assert one not in {row["id"] for row in other.documents()}
    assert not other.change_document(one, "", "", version=1)
    assert not other.rate(answer, 1, "")
    other.close()


def test_documents_are_listed_the_last_changed_first(notes):
    first, second = notes.add_document("1", ""), notes.add_document("2", "")
    assert [row["id"] for row in notes.documents()][:2] == [second, first]
    notes.change_document(first, "1", "more", version=1)
    assert [row["id"] for row in notes.documents()][:2] == [first, second]


def test_preferences_are_of_one_prompt(notes):
    one = notes.add_document("", "")

    def answer(prompt, seed, text, verdict):
        # however it was drawn
        drawing = {"seed": seed, "temperature": seed / 10, "max_tokens": 10 * seed}
        name = notes.begin(one, {"prompt": prompt, **drawing}, {})
        notes.append(name, text)
        if verdict is not None:
            notes.rate(name, verdict, "")

    before = len(notes.preferences())
    answer("a", 1, "good", 1)
    answer("a", 2, "bad", -1)
    answer("a", 3, "worse", -1)
    answer("a", 4, "neither", 0)
    answer("a", 5, "unseen", None)
    answer("b", 6, "other", -1)  # to another prompt
    answer("a", 7, "good", -1)  # the same words, once liked and once not
    found = notes.preferences()[before:]
    assert [(pair.prompt["prompt"], pair.chosen, pair.rejected) for pair in found] == [
        ("a", "good", "bad"),
        ("a", "good", "worse"),
    ]


WRITER = """
import sys
from llmguide.projects.webapp.store import Store
store = Store(sys.argv[1], "notes")
document = store.add_document("Killed", "")
answer = store.begin(document, {}, {})
for version in range(1, 1_000_000):
    assert store.change_document(document, "Killed", "x" * version, version=version)
    store.append(answer, ".")
    print(document, version, flush=True)
"""


def test_nothing_that_was_said_to_be_kept_is_lost_when_killed(url):
    with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as process:
        for _ in range(20):
            document, version = process.stdout.readline().split()
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split("\n")[:-1]  # whole lines that were on their way
    kept = int(rest[-1].split()[1]) if rest else int(version)
    store = Store(url, NAME)
    found = store.document(document)
    store.close()
    assert len(found["content"]) + 1 == found["version"] >= kept + 1
    assert len(found["answers"][0]["text"]) >= kept
    assert found["answers"][0]["state"] == "stopped"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_its_owner_reads_a_database(tmp_path):
    path = tmp_path / "new" / "a.sqlite"
    files = [path, path.with_name("a.sqlite-wal"), path.with_name("a.sqlite-shm")]
    store = Store(f"sqlite:///{path}", NAME)
    store.add_document("T", "secret")
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in files:
        file.chmod(0o644)  # as they were written once
    other = Store(f"sqlite:///{path}", NAME)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    other.close()
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no database")
    path.chmod(0o644)
    with pytest.raises(ValueError, match=f"{path} is not a SQLite database"):
        Store(f"sqlite:///{path}", NAME)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("no database", 0o644)


def test_a_damaged_database_is_named(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(5_000))
    with pytest.raises(ValueError, match=f"the database sqlite:///{path} cannot be used: file is not a"):
        Store(f"sqlite:///{path}", NAME)


def test_a_uri_of_sqlite_is_refused_and_opens_nothing(tmp_path):
    with pytest.raises(ValueError, match="without uri=true"):
        Store(f"sqlite:///file:{tmp_path}/a.sqlite?uri=true", NAME)
    assert not list(tmp_path.iterdir())


def test_no_error_has_what_users_write(notes):
    with pytest.raises(IntegrityError) as refused:
        notes.begin("0" * 32, {"prompt": "a secret"}, {})
    assert "a secret" not in str(refused.value)


def test_a_locked_database_is_said_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr("llmguide.projects.webapp.store.BUSY_MS", 100)
    url = f"sqlite:///{tmp_path / 'a.sqlite'}"
    Store(url, NAME).close()
    other = sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ValueError, match=r"a\.sqlite cannot be used: the database is locked"):
        Store(url, NAME)
    other.close()


@pytest.mark.parametrize("url", ["nothing", "mysql://a/b", "sqlite:////proc/none/a.sqlite"])
def test_a_database_that_is_none_is_said(url):
    with pytest.raises((ValueError, OSError)):
        Store(url, NAME)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:secret@127.0.0.1:1/none", r"the database postgresql\+psycopg://me:\*\*\*@127"),
        ("postgres://me:secret@127.0.0.1:1/none", r"the database postgresql\+psycopg://me:\*\*\*@127"),
        ("postgresql://127.0.0.1:1/none?user=me&password=secret", "cannot be used"),
        ("mysql://me:secret@127.0.0.1/none", "--database mysql://... must be sqlite"),
        ("me:secret@127.0.0.1/none", "--database is not a URL"),
        ("postgresql://me:secret@127.0.0.1:port/none", "--database is not a URL"),
    ],
)
def test_no_password_is_shown(url, message):
    with pytest.raises(ValueError, match=message) as refused:
        Store(url, NAME)
    assert "secret" not in "".join(traceback.format_exception(refused.value)).replace(url, "")
    assert "secret" not in str(refused.value)
