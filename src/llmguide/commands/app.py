"""``llmguide app``: serve one of the applications on this machine."""

import asyncio
import os
import sys
import webbrowser
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from llmguide.coding.client import Endpoint

try:
    from llmguide.projects.applications import APPS
    from llmguide.projects.applications.generators import Generator, RemoteModel
    from llmguide.projects.applications.store import Store
    from llmguide.projects.applications.web import App, AppServer
except ModuleNotFoundError as error:
    message = 'llmguide app needs more packages: pip install "llmguide[apps]"'
    raise ModuleNotFoundError(message) from error

DESCRIPTION = """\
Serve an application on this machine: a model behind a web page, which keeps what you write, what the model
writes and what you think of it. The model is that of your run of llmguide project NAME, or any behind a URL
that speaks OpenAI's format, such as that of vLLM or Ollama; OPENAI_API_KEY is sent there, if it is set. All
is kept in a database, a file of SQLite unless you name a PostgreSQL. Ctrl-C ends the server, and no text.

Examples:
  llmguide app creative-writing
  llmguide app creative-writing --run runs/second --port 8123
  llmguide app creative-writing --url http://localhost:11434/v1 --model llama3.2
  llmguide app creative-writing --database postgresql://me:secret@localhost/writing"""


def _app_of(name: str) -> Callable[..., None]:
    app: App = import_module(f"llmguide.projects.applications.{APPS[name]}").APP

    def command(
        *,
        run: Path = Path("runs") / name,
        model: str | None = None,
        url: str | None = None,
        database: str | None = None,
        port: int = 8100,
        no_browser: bool = False,
    ) -> None:
        """Serve an application, until Ctrl-C.

        Args:
            run: Folder of a run of the project.
            model: Another folder with a model; with --url, the name of the model there.
            url: Of an endpoint, up to /v1.
            database: sqlite:///PATH or postgresql://...; a file in the run's folder, unless given.
            port: Of 127.0.0.1; 0 takes any that is free.
            no_browser: Only print the link.
        """
        if not (url or model or run.is_dir()):
            raise ValueError(f"there is no run in {run}: llmguide project {name} makes one; or name a --url")
        opened = _remote(url, model) if url else app.open(Path(model) if model else run)
        generator = app.around(run, opened)
        store = Store(database or f"sqlite:///{run / 'app.sqlite'}", name)
        try:
            asyncio.run(_serve(app, generator, store, port, open_browser=not no_browser))
        except KeyboardInterrupt:  # how it is meant to end
            sys.stdout.write("\nstopped; all is kept\n")
        finally:
            store.close()

    return command


COMMAND = {name: _app_of(name) for name in APPS}


def _remote(url: str, model: str | None) -> Generator:
    if model is None:
        raise ValueError(f"--url {url} needs --model, the name of a model there")
    return RemoteModel(model, Endpoint(url.rstrip("/"), os.environ.get("OPENAI_API_KEY", "")))


async def _serve(app: App, generator: Generator, store: Store, port: int, *, open_browser: bool) -> None:
    async with AppServer(app, generator, store, port=port) as server:
        sys.stdout.write(f"{app.name} with {generator.name}: {server.address}\nCtrl-C ends it.\n")
        sys.stdout.flush()
        if open_browser:
            await asyncio.to_thread(webbrowser.open, server.address)
        await asyncio.Event().wait()
