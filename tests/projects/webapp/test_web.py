import asyncio
import json
import sqlite3
import threading
from contextlib import ExitStack, contextmanager

import pytest
from tests.projects.webapp.conftest import APP, TOKEN, Scripted

from llmguide.coding.client import EndpointError
from llmguide.projects.webapp.backend import Backend
from llmguide.projects.webapp.forms import RateLimit
from llmguide.projects.webapp.web import AppServer
from llmguide.site_server.server import TIMEOUTS

DOCUMENT = {"title": "T", "content": "Once"}


def events(text):
    """Name and content of each server-sent event."""
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


async def document(call):
    return (await call("POST", "/api/documents", DOCUMENT))[1]["id"]


def test_an_answer_streams_in_and_is_kept(with_app, store):
    async def use(call):
        one = await document(call)
        answer, text = await call("POST", "/api/answers", {"document": one, "text": "Once", "mood": "calm"})
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        found = events(text)
        name = found[0][1]["id"]
        assert found[0] == ("begun", {"id": name, "settings": {"mood": "calm"}})
        assert "".join(data for event, data in found if event == "text") == " upon\na \ufffdtime"
        assert found[-1] == ("ended", "done")
        said = await call("POST", f"/api/answers/{name}/verdict", {"verdict": -1, "comment": "old"})
        assert said[1] == {"verdict": -1}
        kept = (await call("GET", f"/api/documents/{one}"))[1]
        assert [(row["text"], row["state"], row["verdict"]) for row in kept["answers"]] == [
            (" upon\na \ufffdtime", "done", -1)
        ]

    with_app(use, " upon\n", "a ", "\0time")


def test_a_model_that_fails_says_why_and_what_it_wrote_stays(with_app):
    async def use(call):
        one = await document(call)
        found = events((await call("POST", "/api/answers", {"document": one, "text": ""}))[1])
        assert found[-2:] == [("failed", "the endpoint is away"), ("ended", "failed")]
        kept = (await call("GET", f"/api/documents/{one}"))[1]["answers"]
        assert [(row["text"], row["state"]) for row in kept] == [("half", "failed")]

    with_app(use, "half", EndpointError("the endpoint is away"))


def test_a_piece_is_kept_before_the_next_is_written_and_a_reader_who_leaves_stops_the_model(with_app, store):
    class Slow(Scripted):
        def stream(self, request):
            yield "first"
            self.go_on.wait(30)
            for n in range(10_000):
                self.n = n
                yield "."
                self.paced.wait(0.01)

    slow = Slow()
    slow.go_on, slow.paced = threading.Event(), threading.Event()

    async def use(call):
        one = await document(call)
        host, port = call.server.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"document": one, "text": ""})
        head = f"POST /api/answers HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {TOKEN}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        await reader.readuntil(b'data: "first"')
        assert [row["text"] for row in store.document(one)["answers"]] == ["first"]
        writer.close()
        slow.go_on.set()
        for _ in range(6000):
            [row] = store.document(one)["answers"]
            if row["state"] == "stopped":
                break
            await asyncio.sleep(0.01)
        assert row["state"] == "stopped"
        assert slow.n < 9_000

    with_app(use, generator=slow)


NONE = "0" * 32
WRONG = [
    (
        "POST /api/answers",
        {"document": "DOC", "text": "x" * 21},
        400,
        "text: 21 characters must have 0 to 20",
    ),
    ("POST /api/answers", {"document": "DOC", "text": "", "mood": "wild"}, 400, "mood: wild"),
    ("POST /api/answers", {"document": "DOC", "text": "", "moood": ""}, 400, "no such field: moood"),
    ("POST /api/answers", {"document": NONE, "text": ""}, 404, "there is no such document"),
    ("POST /api/documents", {"title": "x" * 201, "content": ""}, 400, "title: 201 characters"),
    ("POST /api/documents", {"title": "", "content": "x" * 100_001}, 400, "content: 100,001 characters"),
    ("PUT /api/documents/DOC", DOCUMENT | {"version": 2}, 409, "gone or changed"),
    ("PUT /api/documents/DOC", DOCUMENT | {"version": "1"}, 400, "version"),
    (f"GET /api/documents/{NONE}", None, 404, "there is no such document"),
    (f"POST /api/answers/{NONE}/verdict", {"verdict": 1}, 404, "there is no such answer"),
    (f"POST /api/answers/{NONE}/verdict", {"verdict": 2}, 400, "verdict: 2 must be"),
    ("POST /api/documents", b"{", 400, "the request is not JSON"),
]


@pytest.mark.parametrize(("what", "body", "status", "message"), WRONG)
def test_what_is_wrong_is_refused_with_the_reason(with_app, what, body, status, message):
    async def use(call):
        one = await document(call)
        sent = body if not isinstance(body, dict) else {k: one if v == "DOC" else v for k, v in body.items()}
        answer, found = await call(*what.replace("DOC", one).split(), sent)
        assert answer.code == status
        assert message in found["error"]

    with_app(use)


DATA = [
    ("GET", "/api/documents", None),
    ("POST", "/api/documents", DOCUMENT),
    ("GET", f"/api/documents/{NONE}", None),
    ("PUT", f"/api/documents/{NONE}", DOCUMENT | {"version": 1}),
    ("POST", "/api/answers", {"document": NONE, "text": ""}),
    ("POST", f"/api/answers/{NONE}/verdict", {"verdict": 1}),
]


@pytest.mark.parametrize("asked", DATA)
@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer another", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
)
def test_without_the_token_nothing_is_read_or_written(with_app, store, asked, sent):
    async def use(call):
        answer, found = await call(*asked, {"Authorization": sent})
        assert (answer.code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "open the link that llmguide app prints" in found["error"]
        assert store.documents() == []

    with_app(use)


def test_a_public_application_wants_no_token(with_app):
    async def use(call):
        assert (await call("POST", "/api/documents", DOCUMENT, {"Authorization": ""}))[0].code == 201

    with_app(use, token=None)


@pytest.mark.parametrize("path", ["/%00", "/shared/%00", "/api/documents/%00", f"/{'a' * 5_000}"])
def test_what_can_be_no_file_is_not_found(with_app, path, caplog):
    async def use(call):
        assert (await call("GET", path))[0].code == 404

    with_app(use)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("end", ["", "\r\nContent-Length: 9\r\n\r\n12"])
def test_a_request_that_does_not_arrive_is_ended(with_app, monkeypatch, end):
    monkeypatch.setattr("llmguide.site_server.server.TIMEOUTS", dict.fromkeys(TIMEOUTS, 0.2))

    async def use(call):
        address = call.server.address.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(f"POST /api/documents HTTP/1.1\r\nHost: {address}{end}".encode())
        assert await reader.read() == b""  # to the end of the connection
        writer.close()

    with_app(use)


@contextmanager
def locked(path):
    """Another program writes to the database for as long as it likes."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@pytest.fixture
def impatient(monkeypatch):
    """Comes before the store, whose connections know how long to wait."""
    monkeypatch.setattr("llmguide.projects.webapp.store.BUSY_MS", 500)


def test_while_the_database_is_locked_writes_wait_and_health_answers(with_app, tmp_path):
    async def use(call):
        await call("GET", "/api/documents")
        with locked(tmp_path / "app.sqlite"):
            writes = [asyncio.create_task(call("POST", "/api/documents", DOCUMENT)) for _ in range(9)]
            await asyncio.sleep(0.1)
            assert (await call("GET", "/health"))[0].code == 200
            assert not any(write.done() for write in writes)
        assert [answer.code for answer, _ in await asyncio.gather(*writes)] == [201] * 9

    with_app(use)


@pytest.mark.usefixtures("impatient")
def test_a_database_that_stays_locked_is_a_503(with_app, tmp_path, caplog):
    secret = DOCUMENT | {"content": "what nobody else may read"}

    async def use(call):
        await call("GET", "/api/documents")
        with locked(tmp_path / "app.sqlite"):
            writes = [call("POST", "/api/documents", secret) for _ in range(9)]
            for answer, found in await asyncio.gather(*writes):
                assert (answer.code, answer.headers["Retry-After"]) == (503, "5")
                assert "is locked by another program" in found["error"]
        assert (await call("POST", "/api/documents", secret))[0].code == 201

    with_app(use)
    assert secret["content"] not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_database_that_hangs_is_not_healthy(with_app, store, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(store, "check", lambda: over.wait(30))
    monkeypatch.setattr("llmguide.projects.webapp.backend.HEALTH_TIMEOUT", 0.1)

    async def use(call):
        codes = [(await call("GET", "/health"))[0].code for _ in range(2)]
        over.set()
        return codes

    assert with_app(use) == [503, 503]


@pytest.mark.usefixtures("impatient")
def test_an_answer_ends_when_the_database_is_locked(with_app, tmp_path):
    class Locking(Scripted):
        def stream(self, request):
            yield "a"
            stack.enter_context(locked(tmp_path / "app.sqlite"))
            yield "b"

    async def use(call):
        one = await document(call)
        return events((await call("POST", "/api/answers", {"document": one, "text": ""}))[1])

    with ExitStack() as stack:
        found = with_app(use, generator=Locking())
    assert [name for name, _ in found[-2:]] == ["failed", "ended"]
    assert "is locked by another program" in found[-2][1]


@pytest.mark.parametrize("piece", [7, TypeError("no text"), KeyError("x")])
def test_whatever_a_model_sends_an_answer_ends(with_app, piece):
    async def use(call):
        one = await document(call)
        return events((await call("POST", "/api/answers", {"document": one, "text": ""}))[1])

    found = with_app(use, "a", piece)
    assert found[-1] == ("ended", "failed")
    assert found[-2][0] == "failed"


def test_half_a_surrogate_pair_is_replaced(with_app):
    async def use(call):
        one = await document(call)
        await call("POST", "/api/answers", {"document": one, "text": ""})
        return (await call("GET", f"/api/documents/{one}"))[1]["answers"][0]

    answer = with_app(use, "a\ud83d", "\ude00b")
    assert (answer["text"], answer["state"]) == ("a??b", "done")


def test_a_form_of_a_foreign_page_is_refused(with_app):
    async def use(call):
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer, _ = await call("POST", "/api/documents", DOCUMENT, {"Content-Type": kind})
            assert answer.code == 415
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
            for method, path, body in (
                ("POST", "/api/documents", DOCUMENT),
                ("GET", "/health", None),
                ("GET", "/", None),
            ):
                assert (await call(method, path, body, headers))[0].code == 403
        assert (await call("GET", "/api/documents"))[1] == {"documents": []}

    with_app(use)


def test_a_request_of_megabytes_is_not_read(with_app):
    async def use(call):
        answer, _ = await call("POST", "/api/documents", b" " * (2**20 + 1))
        assert answer.code in {400, 413, 599}
        assert (await call("GET", "/health"))[0].code == 200

    with_app(use)


@pytest.mark.parametrize("port", [-1, 99_999])
def test_a_port_that_there_is_not_is_refused(store, port):
    with pytest.raises(ValueError, match=f"--port {port} must be between 0 and 65535"):
        AppServer(Backend(APP, Scripted(), store, token=TOKEN), port=port)


def test_too_fast_is_refused_with_the_time_to_wait(with_app):
    async def use(call):
        one = await document(call)
        wish = {"document": one, "text": ""}
        codes = [(await call("POST", "/api/answers", wish))[0].code for _ in range(2)]
        answer, found = await call("POST", "/api/answers", wish)
        assert [*codes, answer.code] == [200, 200, 429]
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert "2 requests in 60 seconds" in found["error"]
        assert (await call("POST", "/api/documents", DOCUMENT))[0].code == 429  # the second change

    with_app(use, "text", answers=RateLimit(2, seconds=60), changes=RateLimit(1, seconds=60))


def test_too_many_at_once_are_refused(with_app):
    held = threading.Event()

    class Held(Scripted):
        def stream(self, request):
            held.wait(30)
            yield "done"

    async def use(call):
        one = await document(call)
        calls = [
            asyncio.create_task(call("POST", "/api/answers", {"document": one, "text": ""})) for _ in range(8)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.2)
        held.set()
        return sorted([(await one)[0].code for one in calls])

    assert with_app(use, generator=Held()) == [200] * 5 + [503] * 3


def test_pages_and_their_policy(with_app):
    async def use(call):
        page, text = await call("GET", "/")
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert "<h1>" in text
        assert (await call("GET", "/shared/frame.js"))[0].code == 200
        assert (await call("GET", "/shared/../../web.py"))[0].code in {403, 404}
        assert (await call("GET", "/none"))[0].code == 404
        health = (await call("GET", "/health"))[1]
        assert health == {
            "status": "ok",
            "application": "creative-writing",
            "model": "scripted",
            "database": "sqlite",
        }

    with_app(use)
