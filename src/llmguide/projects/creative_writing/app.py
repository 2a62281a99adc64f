"""The writing assistant application: continues a text in the requested style.

A model of the project gets control codes; a model behind a URL gets the same instructions in words.
"""

import asyncio
import secrets
from collections.abc import Mapping
from functools import partial

from llmguide.coding.client import Completion, Request
from llmguide.projects.analysis.text_style import style
from llmguide.projects.creative_writing.project import MAX_NEW_TOKENS, NAME
from llmguide.projects.creative_writing.styles import ANY, CONTROLS, coded, prompt_ids
from llmguide.projects.webapp.api import Api
from llmguide.projects.webapp.app import App, PreparedRequest
from llmguide.projects.webapp.forms import LARGEST_DOCUMENT, Form
from llmguide.projects.webapp.generators import Generator, LocalModel, ModelRequest
from llmguide.tokenization.tokenizer import Tokenizer

SHOWN = 6_000  # characters of the text that are sent to a model behind a URL
SAID = {  # instructions for each level, in words
    "length": {
        "short": "in seven words or fewer",
        "middling": "in eight to fourteen words",
        "long": "in fifteen words or more",
    },
    "words": {
        "short": "in short, plain words",
        "middling": "in ordinary words",
        "long": "in long, learned words",
    },
    "tone": {"calm": "in a calm tone, ending with a full stop", "lively": "as a question or an exclamation"},
}


def encode(tokenizer: Tokenizer, request: ModelRequest, room: int) -> list[int]:
    """Encode a prompt with its control codes; a text that is too long is truncated at its start."""
    assert isinstance(request, Completion)
    ids = prompt_ids(tokenizer, request.prompt)
    return ids if len(ids) <= room else [ids[0], *ids[1 - room :]]


def ask(form: Form, generator: Generator) -> PreparedRequest:
    """Read a request: the text to continue, and the style."""
    text = form.text("text", most=LARGEST_DOCUMENT)
    levels = {name: form.choice(name, (*levels, ANY), ANY) for name, (_, levels) in CONTROLS.items()}
    temperature = form.number("temperature", 0, 1.5, 0.9)
    tokens = form.integer("tokens", 8, MAX_NEW_TOKENS, MAX_NEW_TOKENS)
    seed = secrets.randbelow(2**31)  # a repeated request gets another continuation
    asking: ModelRequest
    if generator.local:
        asking = Completion(coded(text, levels), generator.name, None, temperature, tokens, seed)
    else:
        asking = Request(messages(text, levels), generator.name, temperature, tokens, seed)
    return PreparedRequest(asking, {"style": levels, "temperature": temperature})


def messages(text: str, levels: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """Write the same request as messages for a chat model.

    >>> messages("Once upon", {"tone": "calm"})[0]["content"].endswith(
    ...     "Write it in a calm tone, ending with a full stop."
    ... )
    True
    """
    wanted = [SAID[name][level] for name, level in levels.items() if level != ANY]
    task = (
        "You are a writer's assistant. Write the sentence that comes next in the text. Answer with that "
        "sentence alone."
    )
    if wanted:
        task += f" Write it {'; '.join(wanted)}."
    return (
        {"role": "system", "content": task},
        {"role": "user", "content": text[-SHOWN:] or "Begin a story."},
    )


class _Style(Api):
    async def post(self) -> None:
        self.backend.changes.take()
        form = self.form()
        text = form.text("text", most=LARGEST_DOCUMENT)
        form.reject_unread()
        self.finish(await asyncio.to_thread(style, text))


APP = App(NAME, partial(LocalModel.open, encode=encode), ask, (("/api/style", _Style),))
