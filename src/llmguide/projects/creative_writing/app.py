"""The writing assistant application: continues a text in the requested style, or rewrites a passage.

A model of the project gets control codes; a model behind a URL gets the same instructions in words. Character
sheets and rewriting need such a model, or one of the project that was fine-tuned from a ``--base``.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from llmguide.coding.client import Completion, Request
from llmguide.projects.analysis.text_style import style
from llmguide.projects.creative_writing import characters
from llmguide.projects.creative_writing.characters import LONGEST_SHEET, Character, parse_sheet
from llmguide.projects.creative_writing.project import MAX_NEW_TOKENS, NAME
from llmguide.projects.creative_writing.rewriting import STYLES, deleted_messages, whole_messages
from llmguide.projects.creative_writing.styles import ANY, CONTROLS, coded, prompt_ids
from llmguide.projects.webapp.api import Api
from llmguide.projects.webapp.app import App, PreparedRequest
from llmguide.projects.webapp.forms import LARGEST_DOCUMENT, Form, RefusedError
from llmguide.projects.webapp.generators import Generator, LocalChat, LocalModel, ModelRequest
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


def open_local(folder: Path) -> Generator:
    """Open the model of a run: fine-tuned from a base, or trained from scratch."""
    assistant = folder / "models" / "assistant"
    return LocalChat.open(assistant) if assistant.is_dir() else LocalModel.open(folder, encode)


def ask(form: Form, generator: Generator) -> PreparedRequest:
    """Read a request: the text to continue or to rewrite, the style, and the characters."""
    text = form.text("text", most=LARGEST_DOCUMENT)
    levels = {name: form.choice(name, (*levels, ANY), ANY) for name, (_, levels) in CONTROLS.items()}
    into = form.choice("into", (*STYLES, ""), "")
    sheet = _sheet(form)
    temperature = form.number("temperature", 0, 1.5, 0.9)
    tokens = form.integer("tokens", 8, MAX_NEW_TOKENS, MAX_NEW_TOKENS)
    seed = secrets.randbelow(2**31)  # a repeated request gets another continuation
    follows_codes = generator.local and not isinstance(generator, LocalChat)
    asking: ModelRequest
    if follows_codes and (into or sheet):
        message = f"{generator.name} only follows control codes: use a run with --base, or a --url"
        raise RefusedError(HTTPStatus.BAD_REQUEST, message)
    if follows_codes:
        asking = Completion(coded(text, levels), generator.name, None, temperature, tokens, seed)
    else:
        request = messages(text, levels, sheet)
        if into:
            rewriting = deleted_messages if isinstance(generator, LocalChat) else whole_messages
            request = rewriting(text[-SHOWN:], into)
        asking = Request(request, generator.name, temperature, tokens, seed)
    settings = {"style": levels, "temperature": temperature, "into": into, "source": text if into else ""}
    return PreparedRequest(asking, settings)


def _sheet(form: Form) -> list[Character]:
    try:
        return parse_sheet(form.text("characters", most=LONGEST_SHEET, default=""))
    except ValueError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error


def messages(
    text: str, levels: Mapping[str, str], sheet: Sequence[Character] = ()
) -> tuple[Mapping[str, str], ...]:
    """Write the same request as messages for a chat model.

    Args:
        text: Text to continue.
        levels: Level of each control.
        sheet: Characters that the continuation keeps to.

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
    if sheet:
        task = characters.task(sheet)
    if wanted:
        task += f"{chr(10) if sheet else ' '}Write it {'; '.join(wanted)}."
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


class _Check(Api):
    async def post(self) -> None:
        self.backend.changes.take()
        form = self.form()
        text, before = (form.text(name, most=LARGEST_DOCUMENT) for name in ("text", "before"))
        sheet = _sheet(form)
        form.reject_unread()
        self.finish(characters.check(text, sheet, before) if sheet else {})


APP = App(NAME, open_local, ask, (("/api/style", _Style), ("/api/check", _Check)))
