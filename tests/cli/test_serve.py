"""The local kernel: who may reach it, who is refused, and what it does for whom it knows."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from site_tools.tab.tab_assets import archive, guide_files
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from llmguide.cli.main import main
from llmguide.cli.serve import find_site
from llmguide.site_server.server import TIMEOUTS, Server

TOKEN = "a-token-of-the-tests"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The least that is a site: a page, and the archive that kernels take their session from."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<h1>The guide</h1>")
    (folder / "learn").mkdir()
    (folder / "learn" / "index.html").write_text("<h1>A chapter</h1>")
    (folder / "cells.mjs").write_text("export {};")
    (folder / "assets" / "vendor").mkdir(parents=True)
    (folder / "assets" / "vendor" / "guide-0.tgz").write_bytes(archive(guide_files()))
    (folder.parent / "secret.txt").write_text("not of the site")
    return folder


def with_server(site, use):
    """Run ``use(server)`` against a server on a free port."""

    async def run():
        async with Server(site, TOKEN) as server:
            return await asyncio.wait_for(use(server), 60)

    return asyncio.run(run())


# ---- files -----------------------------------------------------------------------------------------------


def fetched(site, path, **headers):
    """Status, body and headers of the answer to a request."""

    async def use(server):
        request = HTTPRequest(server.address + path, headers=headers, follow_redirects=False)
        try:
            return await AsyncHTTPClient().fetch(request)
        except HTTPClientError as error:
            return error.response

    return with_server(site, use)


def test_pages_are_served_with_the_headers_that_isolate_them(site):
    found = fetched(site, "/learn/")
    assert (found.code, found.body) == (200, b"<h1>A chapter</h1>")
    assert found.headers["Content-Type"] == "text/html; charset=utf-8"
    assert found.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert found.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "frame-ancestors 'none'" in found.headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in found.headers
    assert fetched(site, "/cells.mjs").headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert fetched(site, "/learn").headers["Location"] == "/learn/"
    assert fetched(site, "/none/").code == 404


def test_the_sitemap_names_the_addresses_of_this_server(site, tmp_path):
    public = "https://example.org/guide/"
    (tmp_path / "sitemap.xml").write_text(
        f"<urlset><url><loc>{public}</loc></url><url><loc>{public}learn/</loc></url></urlset>"
    )

    async def use(server):
        found = await AsyncHTTPClient().fetch(server.address + "/sitemap.xml")
        return server.address, found

    address, found = with_server(tmp_path, use)
    assert found.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert found.body.decode() == (
        f"<urlset><url><loc>{address}/</loc></url><url><loc>{address}/learn/</loc></url></urlset>"
    )
    assert fetched(site, "/sitemap.xml").code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example"]
)
def test_another_host_name_is_refused(site, host):
    found = fetched(site, "/", Host=host)
    assert found.code == 403
    assert b"Open http://127.0.0.1:" in found.body


@pytest.mark.parametrize(
    "origin", ["https://llmguide.github.io", "http://localhost:8000", "null", "http://127.0.0.1:1"]
)
def test_another_origin_is_refused(site, origin):
    assert fetched(site, "/", Origin=origin).code == 403


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/learn/..%2f..%2fsecret.txt", "//etc/passwd"]
)
def test_no_path_leads_out_of_the_site(site, path):
    async def use(server):  # by hand: a client would tidy the path up
        host, port = server.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        return await reader.read()

    answer = with_server(site, use)
    assert answer.split(b" ")[1] in {b"403", b"404"}
    assert b"not of the site" not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize("path", ["/%00", "/learn/%00.html", f"/{'a' * 5_000}"])
def test_what_can_be_no_file_is_not_found(site, path, caplog):
    assert fetched(site, path).code == 404
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("end", ["", "\r\nContent-Length: 9\r\n\r\n"])
def test_a_request_that_does_not_arrive_is_ended(site, monkeypatch, end):
    monkeypatch.setattr("llmguide.site_server.server.TIMEOUTS", dict.fromkeys(TIMEOUTS, 0.2))

    async def use(server):
        address = server.address.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(f"GET / HTTP/1.1\r\nHost: {address}{end}".encode())
        answer = await reader.read()  # to the end of the connection
        writer.close()
        return answer

    assert with_server(site, use) == b""


@pytest.mark.skipif(not Path("/proc/net/tcp6").exists(), reason="only Linux lists in /proc/net who listens")
def test_nothing_listens_but_loopback(site):
    async def use(server):
        port = f":{int(server.address.rpartition(':')[2]):04X}"
        lines = [
            line for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()
        ]
        return {address.removesuffix(port) for line in lines if (address := line.split()[1]).endswith(port)}

    assert with_server(site, use) == {"0100007F"}


# ---- the kernel: who may --------------------------------------------------------------------------------


async def connect(server, *, token=TOKEN, **headers):
    url = server.address.replace("http:", "ws:") + "/llmguide-kernel"
    request = HTTPRequest(url, headers={"Origin": server.address, **headers})
    return await websocket_connect(request, subprotocols=["llmguide", *([token] if token else [])])


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        (None, {}),
        ("", {}),
        ("another", {}),
        (TOKEN[:-1], {}),
        (TOKEN, {"Origin": "https://evil.example"}),
        (TOKEN, {"Origin": "http://127.0.0.1:1"}),
        (TOKEN, {"Origin": "null"}),
        (TOKEN, {"Host": "evil.example"}),
    ],
)
def test_a_kernel_refuses(site, token, headers):
    async def use(server):
        with pytest.raises(HTTPClientError, match="403"):
            await connect(server, token=token, **headers)

    with_server(site, use)


def test_a_kernel_refuses_who_names_no_origin(site):
    async def use(server):
        url = server.address.replace("http:", "ws:") + "/llmguide-kernel"
        with pytest.raises(HTTPClientError, match="403"):
            await websocket_connect(url, subprotocols=["llmguide", TOKEN])

    with_server(site, use)


def test_the_token_opens_nothing_as_part_of_the_address(site):
    async def use(server):
        url = f"{server.address.replace('http:', 'ws:')}/llmguide-kernel?token={TOKEN}"
        with pytest.raises(HTTPClientError, match="403"):
            await websocket_connect(HTTPRequest(url, headers={"Origin": server.address}))

    with_server(site, use)


def test_a_page_can_ask_whether_a_token_is_the_servers(site):
    def status(**headers):
        return fetched(site, "/llmguide-token", **headers).code

    assert status(Authorization=f"Bearer {TOKEN}") == 204
    for wrong in ({}, {"Authorization": "Bearer another"}, {"Authorization": TOKEN}):
        assert status(**wrong) == 403


# ---- the kernel: what it does ---------------------------------------------------------------------------


class Tab:
    """A connection, and the messages that came on it."""

    def __init__(self, connection):
        self.connection = connection

    async def send(self, **message):
        await self.connection.write_message(json.dumps(message))

    async def until(self, kind):
        """All messages up to one of a kind."""
        found = []
        while not found or found[-1]["type"] != kind:
            text = await self.connection.read_message()
            assert text is not None, f"the kernel ended: {found}"
            found.append(json.loads(text))
        return found

    async def run(self, code, needs="core"):
        await self.send(type="run", id=1, scope="page", name="cell 1", code=code, needs=needs)
        return await self.until("done")

    async def stop(self):
        """Interrupt until the run ends, as backend.js does: a wait that is about to begin hears nothing."""
        ending = asyncio.create_task(self.until("done"))
        while not ending.done():
            await self.send(type="interrupt")
            await asyncio.wait([ending], timeout=0.25)
        return ending.result()


def with_kernel(site, use):
    async def connected(server):
        tab = Tab(await connect(server))
        await tab.until("ready")
        return await use(tab)

    return with_server(site, connected)


def text_of(messages):
    return "".join(message["text"] for message in messages if message["type"] == "output")


def test_a_cell_runs_with_the_real_torch(site):
    async def use(tab):
        code = "import torch\nprint(torch.__version__, len(torch.__file__))\ntorch.arange(3) * 2"
        found = await tab.run(code, "torch")
        again = await tab.run("torch.ones(2)")
        return found, again

    found, again = with_kernel(site, use)
    assert text_of(found) == f"{torch.__version__} {len(torch.__file__)}\ntensor([0, 2, 4])\n"
    assert text_of(again) == "tensor([1., 1.])\n"
    assert [m["type"] for m in found if m["type"] != "output"] == ["started", "done"]


def test_an_error_shows_the_readers_lines(site):
    found = with_kernel(site, lambda tab: tab.run("def f():\n    return 1 / 0\n\nf()"))
    (error,) = [message for message in found if message["type"] == "error"]
    assert error["text"].endswith("ZeroDivisionError: division by zero")
    assert 'File "cell 1", line 2' in error["text"]
    assert "kernel.py" not in error["text"]


@pytest.mark.parametrize("code", ["import time\ntime.sleep(60)", "while True:\n    pass"])
def test_an_interrupt_ends_a_run_and_keeps_the_names(site, code):
    async def use(tab):
        await tab.run("kept = 7")
        await tab.send(type="run", id=2, scope="page", name="cell 2", code=code, needs="core")
        await tab.until("started")
        stopped = await tab.stop()
        await tab.send(type="interrupt")  # nothing runs: nothing happens
        return stopped, await tab.run("kept")

    stopped, after = with_kernel(site, use)
    (error,) = [message for message in stopped if message["type"] == "error"]
    assert error["interrupted"]
    assert text_of(after) == "7\n"


def test_an_interrupt_leaves_no_half_of_torch_behind(site):
    async def use(tab):
        await tab.run("kept = 7")
        code = "import torch\nwhile True:\n    pass"
        await tab.send(type="run", id=2, scope="page", name="cell 2", code=code, needs="torch")
        await asyncio.sleep(0.3)  # torch takes longer to import, and nothing has started
        await tab.send(type="interrupt")
        await tab.until("started")
        await tab.stop()
        return await tab.run("import torch\nprint(kept, torch.ones(2))", "torch")

    assert text_of(with_kernel(site, use)) == "7 tensor([1., 1.])\n"


def test_what_programs_print_belongs_to_the_cell(site):
    code = "import subprocess\nprint('before')\nsubprocess.run(['echo', 'from a program'])\nNone"
    assert text_of(with_kernel(site, lambda tab: tab.run(code))) == "before\nfrom a program\n"


def test_what_programs_print_is_capped(site):
    code = "import subprocess\nsubprocess.run(['head', '-c', '1000000', '/dev/zero'])\nNone"
    assert len(text_of(with_kernel(site, lambda tab: tab.run(code)))) == 64 * 1024


def test_a_cell_cannot_read_the_messages(site):
    found = with_kernel(site, lambda tab: tab.run("input()"))
    assert "EOFError" in found[-2]["text"]


@pytest.mark.parametrize(("value", "error"), [("emit", "TypeError"), ("float('nan')", "ValueError")])
def test_what_no_message_can_hold_is_the_cells_error(site, value, error):
    async def use(tab):
        return await tab.run(f"from session import emit\nemit({value})"), await tab.run("1 + 1")

    found, after = with_kernel(site, use)
    assert error in found[-2]["text"]
    assert text_of(after) == "2\n"


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "7",
        "[]",
        "[" * 100_000,
        '{"scope": "page"}',
        b"\xff\r\n\xfe",
        '{"type": "dance"}',
        '{"type": ["run"]}',
        '{"type": "complete", "id": null}',
    ],
)
def test_a_malformed_message_is_answered_and_the_next_one_runs(site, message):
    async def use(tab):
        await tab.connection.write_message(message, binary=isinstance(message, bytes))
        refused = (await tab.until("error"))[-1]
        return refused["text"], text_of(await tab.run("1 + 1"))

    refused, after = with_kernel(site, use)
    assert refused.startswith("A message could not be understood")
    assert after == "2\n"


def test_a_malformed_run_ends(site):
    async def use(tab):
        await tab.send(type="run", id=5)
        return await tab.until("done")

    assert [(m["type"], m["id"]) for m in with_kernel(site, use)] == [("error", 5), ("done", 5)]


def test_a_kernel_that_dies_closes_the_connection(site):
    async def use(tab):
        await tab.send(
            type="run", id=1, scope="page", name="cell 1", code="import os\nos._exit(3)", needs="core"
        )
        while (message := await tab.connection.read_message()) is not None:
            assert json.loads(message)["type"] != "done"
        return tab.connection.close_reason

    assert with_kernel(site, use) == "the kernel has ended"


# A child of the kernel, one in a session of its own, and a daemon whose parent has ended.
LEFT = """
import os, subprocess
open("f", "w").close()
children = [subprocess.Popen(["sleep", "100"], start_new_session=new).pid for new in (False, True)]
if (child := os.fork()) == 0:
    if daemon := os.fork():
        open("daemon", "w").write(str(daemon))
        os._exit(0)
    os.setsid()
    os.execlp("sleep", "sleep", "100")
os.waitpid(child, 0)
print(os.environ["TMPDIR"], os.getcwd(), os.getpid(), *children, open("daemon").read())"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(folder, ids):
    for _ in range(1200):
        if not Path(folder).exists() and not any(map(alive, ids)):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"left behind: {folder}, {[pid for pid in ids if alive(pid)]}")


# The second holds Python's lock for as long as it runs, so that no thread of the kernel can do anything.
BUSY = {"idle": None, "stuck": "import re, time\ntime.sleep(0.2)\nre.match(r'(a+)+$', 'a' * 50 + 'b')"}


@linux
@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("end", ["the tab closes", "the kernel dies"])
def test_nothing_is_left_of_a_kernel(site, busy, end):
    async def use(tab):
        folder, working, kernel, *ids = text_of(await tab.run(LEFT)).split()
        assert len(ids) == 3
        assert all(map(alive, ids))
        assert Path(working, "f").exists()
        if code := BUSY[busy]:
            await tab.send(type="run", id=2, scope="page", name="cell 2", code=code, needs="core")
            await tab.until("started")
            await asyncio.sleep(0.5)
        if end == "the tab closes":
            tab.connection.close()
        else:
            os.kill(int(kernel), signal.SIGKILL)
        await gone(folder, [kernel, *ids])

    with_kernel(site, use)


def test_a_site_without_its_archive_says_so(site, tmp_path):
    (tmp_path / "index.html").write_text("old")

    async def use(server):
        return await Tab(await connect(server)).until("failed")

    assert "rebuild it with make site" in with_server(tmp_path, use)[-1]["text"]


# ---- the command ----------------------------------------------------------------------------------------


def test_the_site_is_found(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="make site"):
        find_site(None, packaged=tmp_path / "none")
    with pytest.raises(ValueError, match="has no index"):
        find_site(tmp_path)
    assert find_site(site) == site
    assert find_site(None, packaged=site) == site
    (tmp_path / "site").symlink_to(site)
    assert find_site(None, packaged=tmp_path / "none") == site


def test_a_port_in_use_is_said(site, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--site", str(site), "--port", port, "--no-browser"]) == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


def test_without_the_extra_it_names_the_package_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "llmguide.cli.serve")
    monkeypatch.setitem(sys.modules, "llmguide.site_server.server", None)
    assert main(["serve"]) == 1
    assert 'pip install "llmguide[serve]"' in capsys.readouterr().err


def test_help_has_examples(capsys):
    assert main(["serve", "--help"]) == 0
    assert "llmguide serve --port 8123" in capsys.readouterr().out


@pytest.mark.usefixtures("heeded_ctrl_c")
def test_the_command_prints_a_link_of_its_own_and_ends_with_ctrl_c(site):
    command = [sys.executable, "-m", "llmguide", "serve", "--site", site, "--port", "0", "--no-browser"]
    links = []
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            links.append(process.stdout.readline().split()[-1])
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.stdout.read().endswith("stopped, and every kernel with it\n")
            assert process.wait() == 0
    tokens = {link.partition("/#token=")[2] for link in links}
    assert len(tokens) == 2
    assert all(len(token) >= 40 for token in tokens)


@linux
@pytest.mark.parametrize("busy", BUSY)
def test_nothing_is_left_when_the_server_is_killed(site, busy):
    command = [sys.executable, "-m", "llmguide", "serve", "--site", site, "--port", "0", "--no-browser"]

    async def use(process):
        address, _, token = process.stdout.readline().split()[-1].partition("/#token=")
        request = HTTPRequest(
            f"{address.replace('http:', 'ws:')}/llmguide-kernel", headers={"Origin": address}
        )
        tab = Tab(await websocket_connect(request, subprotocols=["llmguide", token]))
        folder, _, *ids = text_of(await tab.run(LEFT)).split()
        assert all(map(alive, ids))
        if code := BUSY[busy]:
            await tab.send(type="run", id=2, scope="page", name="cell 2", code=code, needs="core")
            await tab.until("started")
            await asyncio.sleep(0.5)
        process.kill()
        await gone(folder, ids)

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            asyncio.run(use(process))
        finally:
            process.kill()
