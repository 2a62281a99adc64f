"""What the request handlers of an application share: its model, database, rate limits and threads."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import ParamSpec, TypeVar

from llmguide.projects.webapp.app import App
from llmguide.projects.webapp.forms import RateLimit, RefusedError
from llmguide.projects.webapp.generators import Generator
from llmguide.projects.webapp.store import Store, UnavailableError

P = ParamSpec("P")
T = TypeVar("T")

HEALTH_TIMEOUT = 3  # seconds


class Backend:
    """The state of an application that is served, with its threads.

    Args:
        app: Application to serve.
        generator: Model of the application.
        store: Database of the application.
        token: Token that every request for data must carry; None admits every user of the machine.
        answers: Rate limit of requests to the model.
        changes: Rate limit of other requests.

    Attributes:
        closing: Event that is set when the server closes, which stops the model.
        n_pending: Number of answers that are being generated or queued.
        pool: Executor of the model.
    """

    def __init__(
        self,
        app: App,
        generator: Generator,
        store: Store,
        *,
        token: str | None,
        answers: RateLimit | None = None,
        changes: RateLimit | None = None,
    ):
        self.app, self.generator, self.store, self.token = app, generator, store, token
        self.answers = answers or RateLimit(app.answers_per_minute, seconds=60)
        self.changes = changes or RateLimit(600, seconds=60)
        self.closing = threading.Event()
        self.n_pending = 0
        self.pool = ThreadPoolExecutor(generator.max_parallel, thread_name_prefix="answer")
        self._storing = ThreadPoolExecutor(8, thread_name_prefix="store")
        self._checking = ThreadPoolExecutor(1, thread_name_prefix="check")  # never waits for the others

    async def close(self) -> None:
        """Wait for the threads; set ``closing`` first."""
        for executor in (self.pool, self._storing, self._checking):
            await asyncio.to_thread(executor.shutdown)

    async def stored(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that uses the database in a thread.

        Raises:
            RefusedError: The database cannot be used now.
        """
        return await _stored(self._storing, partial(function, *args, **kwargs))

    async def check(self) -> None:
        """Check that the database answers.

        Raises:
            RefusedError: The database does not answer in time.
        """
        try:
            await asyncio.wait_for(_stored(self._checking, self.store.check), HEALTH_TIMEOUT)
        except TimeoutError as error:
            raise _unavailable("the database does not answer") from error


async def _stored(executor: Executor, function: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, function)
    except UnavailableError as error:
        raise _unavailable(str(error)) from error


def _unavailable(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, message, wait=5)
