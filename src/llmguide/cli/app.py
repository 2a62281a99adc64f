"""``llmguide app``: serve one of the applications on this machine."""

import asyncio
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from llmguide.projects.webapp import APPS

DESCRIPTION = """\
Serve an application on this machine: a web page for a model, which stores your texts, the model's responses
and your feedback on them. The model is that of your run of llmguide project NAME, or one behind an
OpenAI-compatible URL, such as that of vLLM or Ollama; OPENAI_API_KEY is sent there, if it is set. The
database is by default a SQLite file in the run folder, which only you can read on Linux and macOS. Ctrl-C
stops the server; the texts are kept.

Only this machine can reach the server, and without --public only pages and editors with the token can read or
write. The token is in the link and in the file app.token in the run's folder; delete the file to get a new
token at the next start. On a shared machine, use --no-browser: other users can read the command line that
starts the browser, and it includes the token. The address is 127.0.0.1: requests to localhost or another port
are refused.

Examples:
  llmguide app creative-writing
  llmguide app creative-writing --run runs/second --port 8123
  llmguide app creative-writing --url http://localhost:11434/v1 --model llama3.2
  llmguide app creative-writing --database postgresql://me:secret@localhost/writing"""


def _app_of(name: str) -> Callable[..., None]:
    def command(
        *,
        run: Path = Path("runs") / name,
        model: str | None = None,
        url: str | None = None,
        database: str | None = None,
        port: int = 8100,
        no_browser: bool = False,
        public: bool = False,
    ) -> None:
        """Serve an application, until Ctrl-C.

        Args:
            run: Folder of a run of the project.
            model: Folder of another model; with --url, the name of the model at the endpoint.
            url: Base URL of an endpoint, up to /v1.
            database: URL sqlite:///PATH or postgresql://...; default: a SQLite file in the run folder.
            port: TCP port on 127.0.0.1; 0: any free port.
            no_browser: Print the link without opening a browser.
            public: Let every user and program of this machine read and write without a token.
        """
        try:
            from llmguide.projects.webapp.access import token_of  # noqa: PLC0415  # an extra
            from llmguide.projects.webapp.app import App  # noqa: PLC0415
            from llmguide.projects.webapp.backend import Backend  # noqa: PLC0415
            from llmguide.projects.webapp.store import Store  # noqa: PLC0415
            from llmguide.projects.webapp.web import AppServer  # noqa: PLC0415

            app: App = import_module(f"llmguide.projects.{APPS[name]}.app").APP
        except ModuleNotFoundError as error:
            message = f'llmguide app needs more packages ({error}): pip install "llmguide[apps]"'
            raise ModuleNotFoundError(message) from error
        if not (url or model or run.is_dir()):
            raise ValueError(f"there is no run in {run}: run llmguide project {name}, or give a --url")
        opened = _remote(url, model) if url else app.open(Path(model) if model else run)
        generator = app.wrap_model(run, opened)
        store = Store(database or f"sqlite:///{run / 'app.sqlite'}", name)
        try:
            token = None if public else token_of(run)
            server = AppServer(Backend(app, generator, store, token=token), port=port)
            asyncio.run(server.run(f"{name} with {generator.name}", token, open_browser=not no_browser))
        except KeyboardInterrupt:  # Ctrl-C ends the server
            sys.stdout.write("\nstopped; all is kept\n")
        finally:
            store.close()

    return command


COMMAND = {name: _app_of(name) for name in APPS}


def _remote(url: str, model: str | None) -> Any:
    from llmguide.coding.client import Endpoint  # noqa: PLC0415  # an extra
    from llmguide.projects.webapp.generators import RemoteModel  # noqa: PLC0415

    if model is None:
        raise ValueError(f"--url {url} needs --model, the name of a model there")
    return RemoteModel(model, Endpoint(url.rstrip("/"), os.environ.get("OPENAI_API_KEY", "")))
