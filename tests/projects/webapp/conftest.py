import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from llmguide.coding.client import Completion
from llmguide.projects.webapp.app import App, PreparedRequest
from llmguide.projects.webapp.backend import Backend
from llmguide.projects.webapp.store import Store
from llmguide.projects.webapp.web import AppServer


class Scripted:
    """A generator that says what it is told to; an exception among the pieces is raised."""

    name, local, max_parallel = "scripted", True, 1

    def __init__(self, *said):
        self.said, self.asked = said, []

    def stream(self, request):
        self.asked.append(request)
        for piece in self.said:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def ask(form, generator):
    return PreparedRequest(
        Completion(form.text("text", most=20), generator.name),
        {"mood": form.choice("mood", ("", "calm"), "")},
    )


TOKEN = "a-token-of-the-tests"
APP = App("creative-writing", lambda folder: None, ask)


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'app.sqlite'}", APP.name)
    yield store
    store.close()


@pytest.fixture
def with_app(store):
    """Runs ``use(call)`` against an application, where ``call`` sends a request and returns its answer."""

    def run(use, *said, generator=None, **options):
        async def serve():
            given = {"token": TOKEN} | options
            async with AppServer(Backend(APP, generator or Scripted(*said), store, **given)) as server:

                async def call(method, path, body=None, headers=None):
                    request = HTTPRequest(
                        server.address + path,
                        method,
                        headers={
                            "Content-Type": "application/json",
                            "Authorization": f"Bearer {TOKEN}",
                            **(headers or {}),
                        },
                        body=None if body is None else body if isinstance(body, bytes) else json.dumps(body),
                        allow_nonstandard_methods=True,
                    )
                    answer = await AsyncHTTPClient().fetch(request, raise_error=False)
                    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
                    return answer, json.loads(answer.body) if is_json else (answer.body or b"").decode()

                call.server = server
                return await asyncio.wait_for(use(call), 60)

        return asyncio.run(serve())

    return run


@pytest.fixture(scope="session")
def postgresql():
    """URL of a database: LLMGUIDE_POSTGRES, or of a server that this machine's PostgreSQL starts here."""
    if url := os.environ.get("LLMGUIDE_POSTGRES"):
        yield url
        return
    folders = [
        Path(shutil.which("initdb") or "/none").parent,
        *sorted(Path("/usr/lib/postgresql").glob("*/bin")),
    ]
    programs = next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)
    if programs is None:
        pytest.skip(
            "no PostgreSQL: apt-get install postgresql, or name an empty database in LLMGUIDE_POSTGRES"
        )
    with tempfile.TemporaryDirectory() as folder:  # not in pytest's, whose parents only this user may enter
        data = Path(folder)
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:  # which PostgreSQL refuses to be run by
            shutil.chown(data, "postgres")
            as_user = {"user": "postgres", "group": "postgres", "extra_groups": ()}
        settings = f"-c listen_addresses='' -c unix_socket_directories={data} -c fsync=off"
        making = [programs / "initdb", "-D", data / "db", "-A", "trust", "-U", "tester", "-N"]
        subprocess.run(making, check=True, capture_output=True, **as_user)
        control = [programs / "pg_ctl", "-D", data / "db", "-w", "-l", data / "log", "-o", settings]
        subprocess.run([*control, "start"], check=True, stdout=subprocess.DEVNULL, **as_user)
        yield f"postgresql://tester@/postgres?host={data}"
        subprocess.run(
            [*control, "stop", "-m", "immediate"], check=True, stdout=subprocess.DEVNULL, **as_user
        )
