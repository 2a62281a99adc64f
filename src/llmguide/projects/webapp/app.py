"""An application: its page, its model, and how a user's form becomes a request to the model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmguide.projects.webapp.forms import Form
from llmguide.projects.webapp.generators import Generator, ModelRequest
from llmguide.site_server.server import Guarded


class PreparedRequest(NamedTuple):
    """A request to the model, prepared from a user's form.

    Attributes:
        request: Request to the model.
        settings: Choices of the user and retrieved data; stored with the answer and sent before it.
    """

    request: ModelRequest
    settings: dict[str, Any]


@dataclass(frozen=True)
class App:
    """An application.

    Attributes:
        name: Name of the application, and of the folder of its page.
        open: Function that opens the model of a run folder, or of another folder.
        ask: Function that reads a form and prepares the request to the model; it runs in a thread.
        rules: Additional paths with their handlers, each an `llmguide.projects.webapp.api.Api`.
        wrap_model: Function that combines the model with other files of a run, such as an index.
        answers_per_minute: RateLimit limit of requests to the model.
    """

    name: str
    open: Callable[[Path], Any]
    ask: Callable[[Form, Any], PreparedRequest]
    rules: tuple[tuple[str, type[Guarded]], ...] = ()
    wrap_model: Callable[[Path, Any], Generator] = lambda _, model: model
    answers_per_minute: int = 30
