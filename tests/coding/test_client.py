"""The client against a server that misbehaves, and the transcripts that the guide replays."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from llmguide.coding import client, recorded
from llmguide.coding.client import Endpoint, EndpointError, Request, Response
from llmguide.coding.replay import TRANSCRIPTS, ask, record, replay
from llmguide.coding.sandbox.judging import judge
from llmguide.evaluation.extraction import extract_code

REQUEST = Request(({"role": "user", "content": "Hi"},), "test-model", seed=3)
GOOD = {"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "length"}]}


@pytest.fixture
def server(monkeypatch):
    """Replies from a list of (status, headers, body); the last one again and again."""
    replies, received = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, dict(self.headers), json.loads(body)))
            status, headers, content = replies.pop(0) if len(replies) > 1 else replies[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    slept = []
    monkeypatch.setattr(client.time, "sleep", slept.append)
    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield (
        Endpoint(f"http://127.0.0.1:{httpd.server_port}/v1", "key-123", timeout_s=5),
        replies,
        received,
        slept,
    )
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_request_is_sent_as_openai_has_it(server):
    endpoint, replies, received, _ = server
    replies.append((200, {}, json.dumps(GOOD).encode()))
    assert endpoint.ask(REQUEST) == Response("Hello", "length", endpoint.base_url)
    path, headers, body = received[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer key-123"
    assert body == {
        "messages": [{"role": "user", "content": "Hi"}],
        "model": "test-model",
        "temperature": 0.0,
        "max_tokens": 512,
        "seed": 3,
        "stream": False,
    }


def test_a_busy_server_is_asked_again(server):
    endpoint, replies, received, slept = server
    replies += [
        (429, {"Retry-After": "7"}, b"slow down"),
        (503, {}, b""),
        (200, {}, json.dumps(GOOD).encode()),
    ]
    assert endpoint.ask(REQUEST).text == "Hello"
    assert len(received) == 3
    assert slept == [7.0, 1.0]


def test_refusals_and_nonsense_are_said_without_the_key(server):
    endpoint, replies, received, _ = server
    replies[:] = [(401, {}, b"bad key")]
    with pytest.raises(EndpointError, match="HTTP 401: bad key") as refused:
        endpoint.ask(REQUEST)
    assert len(received) == 1
    replies[:] = [(500, {}, b"broken")]
    with pytest.raises(EndpointError, match="did not respond in 4 attempts: HTTP 500: broken"):
        endpoint.ask(REQUEST)
    for body in (b"<html>", b"{}", b'{"choices": []}', b"[1]"):
        replies[:] = [(200, {}, body)]
        with pytest.raises(EndpointError, match="unexpected response"):
            endpoint.ask(REQUEST)
    assert "key-123" not in f"{refused.value} {endpoint!r}"


def test_streams_come_in_pieces_and_must_end(server):
    endpoint, replies, received, _ = server
    pieces = [{"choices": [{"delta": {"content": text}}]} for text in ("He", "llo", None)]
    lines = [f"data: {json.dumps(piece)}\n\n" for piece in pieces] + [
        ": ping\n\n",
        'data: {"choices": []}\n\n',
    ]
    replies[:] = [(200, {}, "".join([*lines, "data: [DONE]\n\n"]).encode())]
    assert "".join(endpoint.stream(REQUEST)) == "Hello"
    assert received[0][2]["stream"] is True
    replies[:] = [(200, {}, "".join(lines).encode())]
    with pytest.raises(EndpointError, match="ended before the completion did"):
        list(endpoint.stream(REQUEST))
    last = {"choices": [{"delta": {"content": "!"}, "finish_reason": "stop"}]}
    replies[:] = [(200, {}, "".join([*lines, f"data: {json.dumps(last)}\n\n"]).encode())]
    assert "".join(endpoint.stream(REQUEST)) == "Hello!"
    for nonsense in (b"{", b"[]", b'{"choices": [{"delta": null}]}', b'{"message": "no"}'):
        replies[:] = [(200, {}, b"data: " + nonsense + b"\n\n")]
        with pytest.raises(EndpointError, match="broke off"):
            list(endpoint.stream(REQUEST))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("use", [lambda e: e.ask(REQUEST), lambda e: list(e.stream(REQUEST))])
def test_no_redirect_is_followed(server, status, use):
    endpoint, replies, received, _ = server
    elsewhere = f"{endpoint.base_url.replace('127.0.0.1', 'localhost')}/chat/completions?secret"
    replies[:] = [(status, {"Location": elsewhere}, b"")]
    with pytest.raises(
        EndpointError, match=r"redirects to http://localhost, .*set OPENAI_BASE_URL"
    ) as refused:
        use(endpoint)
    assert len(received) == 1
    assert "secret" not in str(refused.value)


def test_headers_that_are_invalid_are_no_other_error(server):
    endpoint, replies, _, slept = server
    replies[:] = [(302, {"Location": "http://[bad"}, b"")]
    with pytest.raises(EndpointError, match="redirects to an invalid URL"):
        endpoint.ask(REQUEST)
    replies[:] = [(429, {"Retry-After": "²"}, b""), (200, {}, json.dumps(GOOD).encode())]
    assert endpoint.ask(REQUEST).text == "Hello"
    assert slept == [0.5]


@pytest.mark.parametrize("line", [b"x" * 2_000, b": ping\n", b'data: {"choices": [{"text": "more"}]}\n'])
def test_a_response_that_is_too_long_is_refused(server, line):
    endpoint, replies, _, _ = server
    short = Request(REQUEST.messages, "test-model", max_tokens=4)
    replies[:] = [(200, {}, line * (3 * 2**20 // len(line)))]
    for use in (endpoint.ask, lambda request: list(endpoint.stream(request))):
        with pytest.raises(EndpointError, match="more than 1,052,672 bytes for 4 tokens"):
            use(short)


@pytest.mark.parametrize("use", [lambda e: e.ask(REQUEST), lambda e: list(e.stream(REQUEST))])
def test_a_response_that_breaks_off_is_an_error(server, use):
    endpoint, replies, _, _ = server
    replies[:] = [(200, {"Content-Length": "1000"}, b'data: {"choices": []}\n\n')]
    with pytest.raises(EndpointError, match="broke off"):
        use(endpoint)


def test_a_line_may_arrive_in_parts():
    assert list(client._lines([b"a", b"b\nc\n\n", b"", b"d\ne"])) == [b"ab", b"c", b"", b"d", b"e"]


def test_without_the_http_client_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ImportError, match=r'pip install "llmguide\[cli\]"'):
        Endpoint("http://127.0.0.1:9").ask(REQUEST)


@pytest.mark.parametrize("found", [7, 1.5, True, ["a"], {"a": 1}])
def test_what_is_no_text_is_refused(server, found):
    endpoint, replies, _, _ = server
    replies[:] = [(200, {}, json.dumps({"choices": [{"message": {"content": found}}]}).encode())]
    with pytest.raises(EndpointError, match="unexpected response"):
        endpoint.ask(REQUEST)
    for choice in ({"delta": {"content": found}}, {"text": found}):
        replies[:] = [(200, {}, b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")]
        with pytest.raises(EndpointError, match="is not text"):
            list(endpoint.stream(REQUEST))


def test_an_error_in_the_middle_of_a_stream_is_said(server):
    endpoint, replies, _, _ = server
    piece, failure = {"choices": [{"text": "He"}]}, {"error": {"message": "out of memory", "code": 500}}
    lines = [f"data: {json.dumps(one)}\n\n" for one in (piece, failure)]
    replies[:] = [(200, {}, "".join([*lines, "data: [DONE]\n\n"]).encode())]
    stream = endpoint.stream(REQUEST)
    assert next(stream) == "He"
    with pytest.raises(EndpointError, match="out of memory"):
        next(stream)


def test_no_server_and_no_address(monkeypatch):
    monkeypatch.setattr(client.time, "sleep", lambda s: None)
    with pytest.raises(EndpointError, match="did not respond in 2 attempts"):
        Endpoint("http://127.0.0.1:9", retries=1).ask(REQUEST)
    with pytest.raises(EndpointError, match="is not a URL"):
        Endpoint("file:///etc").ask(REQUEST)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(EndpointError, match="OPENAI_BASE_URL is not set"):
        Endpoint.from_environment()


def test_without_an_endpoint_transcripts_answer(monkeypatch, tmp_path, server):
    endpoint, replies, _, _ = server
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    answer = Response("Grüße", "stop", "made up")
    record(REQUEST, answer, tmp_path)
    assert replay(REQUEST, tmp_path) == answer
    with pytest.raises(LookupError, match="no transcript"):
        ask(REQUEST)
    replies.append((200, {}, json.dumps(GOOD).encode()))
    monkeypatch.setenv("OPENAI_BASE_URL", f"{endpoint.base_url}/")
    assert ask(REQUEST).text == "Hello"


def test_keys_depend_on_everything_that_is_asked():
    others = [
        Request(REQUEST.messages, "other", seed=3),
        Request(REQUEST.messages, "test-model"),
        Request(REQUEST.messages, "test-model", temperature=0.5, seed=3),
        Request(REQUEST.messages, "test-model", max_tokens=5, seed=3),
        Request((*REQUEST.messages, *REQUEST.messages), "test-model", seed=3),
    ]
    assert len({request.key() for request in (REQUEST, *others)}) == 6


def test_every_transcript_is_of_a_prompt_as_it_is_now():
    asked = [(problem, request) for _, problem, request in recorded.first_round()]
    asked += [
        (problem, again)
        for name, problem, request in recorded.first_round()
        if name == "direct" and (again := recorded.debugging(problem, replay(request).text))
    ]
    assert {f"{request.key()}.json" for _, request in asked} == {p.name for p in TRANSCRIPTS.glob("*.json")}
    for problem, request in asked:
        answer = replay(request)
        assert recorded.MODEL in answer.source
        if code := extract_code(answer.text, problem.name):
            assert judge(code, problem.tests).status in ("passed", "wrong_answer", "error")
