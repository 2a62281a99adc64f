r"""Chat templates: from messages to token ids and the loss mask.

A chat model reads one sequence of tokens, in which control tokens mark whose turn it is. ChatML, the default:

    <|im_start|>system
    Be brief.<|im_end|>
    <|im_start|>user
    Capital of France?<|im_end|>
    <|im_start|>assistant
    Paris.<|im_end|>

The loss covers what the model itself has to generate: the assistant's text and the ``<|im_end|>`` after it,
without which it would never learn to stop. Headers and the turns of others have no loss.

Most published templates do not mark what the assistant writes. `render_chat` then takes what follows the
generation prompt, up to the control token that ends the turn (`llmguide.post_training.assistant_turns`).

Only the template may write control tokens: a user who types ``<|im_end|>`` gets its characters. The template
therefore marks the text with a loss (`LEARN`, `STOP`), `render_chat` marks text that looks like a control
token (`ESCAPE`), and the marks are removed when the text is encoded. They are Unicode noncharacters, which
ordinary text does not contain.

The assistant may call tools: its message has ``tool_calls``, messages of the role ``tool`` have the results,
and the first message may declare the ``tools``. The template of the model writes all of them.

References: ChatML (OpenAI 2023, https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md);
``{% generation %}`` (Hugging Face, https://huggingface.co/docs/transformers/chat_templating_writing).

Leaves out: images, reasoning fields, tools in ChatML, and continuing a message (prefill).

Glossary: turn, a message with its header and end; ``T`` tokens of a conversation.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal, NamedTuple

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmguide.post_training.assistant_turns import ESCAPE, LEARN, STOP, any_of, escaped, mark_turns
from llmguide.post_training.tokenizer_interface import TokenizerAdapter, as_adapter
from llmguide.tokenization.text_encoder import TextEncoder

START, END = "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant", "tool")

Message = dict[str, Any]  # "role" and "content"; see `render_chat` for tools
# Writes messages as text with marks around the text with a loss; True adds the assistant's next header.
Template = Callable[[Sequence[Message], bool], str]
_FIELDS = {"role", "content", "tool_calls", "tool_call_id", "name", "tools"}  # of a message


class TokenizedChat(NamedTuple):
    """A tokenized conversation.

    Attributes:
        ids: Token ids, T of them.
        mask: Loss mask: True for the tokens that the model is trained to generate.
    """

    ids: list[int]
    mask: list[bool]


def chatml(messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
    r"""Write messages in ChatML.

    >>> chatml([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n'
    """
    text = ""
    for message in messages:
        body = message["content"] + END
        if message["role"] == "assistant":
            body = LEARN + body + STOP
        text += f"{START}{message['role']}\n{body}\n"
    return text + f"{START}assistant\n" if add_generation_prompt else text


def jinja(source: str, **variables: Any) -> Template:
    r"""Make a chat template from the Jinja source that a model is published with.

    Text inside ``{% generation %}`` has a loss.

    Args:
        source: Jinja source of the template; it is run in Jinja's sandbox, because it may be untrusted. The
            sandbox keeps it from files and programs, but limits neither its time nor its memory.
        variables: Variables of the template besides the messages, such as ``bos_token``.

    >>> source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    >>> jinja(source)([{"role": "assistant", "content": "Hi"}], False)
    '\ufdd1Hi\ufdd2'
    """
    source = re.sub(r"({%[-+]?\s*)generation\b", r"\1call learn()", source)
    source = re.sub(r"({%[-+]?\s*)endgeneration\b", r"\1endcall", source)
    template = _environment().from_string(source)

    def write(messages: Sequence[Message], add_generation_prompt: bool) -> str:
        tools = messages[0].get("tools") if messages else None
        plain = [{key: message[key] for key in message if key != "tools"} for message in messages]
        try:
            return template.render(
                **variables, messages=plain, tools=tools, add_generation_prompt=add_generation_prompt
            )
        except (TemplateError, TypeError, ArithmeticError, MemoryError, RecursionError) as error:
            raise ValueError(f"the chat template does not take these messages: {error}") from error

    return write


def own_template(tokenizer: Any) -> Template:
    """Return the chat template of a tokenizer of transformers, of several the one named ``default``.

    Raises:
        ValueError: The tokenizer has no chat template, or several and no default.
    """
    if not tokenizer.chat_template:
        raise ValueError("this tokenizer has no chat_template; leave the template out for ChatML")
    return jinja(tokenizer.get_chat_template(), **tokenizer.special_tokens_map)


def render_chat(
    messages: Sequence[Message],
    tokenizer: TextEncoder | TokenizerAdapter,
    *,
    template: Template = chatml,
    add_generation_prompt: bool = False,
    last_turn_only: bool = False,
    max_length: int | None = None,
    truncation: Literal["refuse", "left"] = "refuse",
) -> TokenizedChat:
    """Tokenize a conversation and mark the tokens that have a loss.

    Args:
        messages: Turns, each with a ``role`` (system, user, assistant or tool) and a ``content``. Tool calls
            are the ``tool_calls`` of the assistant's message; the first message may have ``tools``.
        tokenizer: A `Tokenizer`, a `tiktoken.Encoding`, a fast tokenizer of transformers, or a
            `TokenizerAdapter`.
        template: Chat template; `jinja` and `own_template` make others.
        add_generation_prompt: Whether to append the header of the assistant's next turn, for generation.
        last_turn_only: Whether only the assistant's last turn has a loss, as for preference pairs.
        max_length: Maximum number of tokens; None: any number.
        truncation: Treatment of a longer conversation: ``"refuse"`` raises an error; ``"left"`` drops the
            oldest turns, question and response together, until the rest fits. The system message stays, and
            no turn is cut in two.

    Returns:
        Token ids and loss mask.

    Raises:
        ValueError: If no token has a loss (and there is no generation prompt), a role or content is invalid,
            the tokenizer lacks a control token of ChatML, a message contains one of the marks, or the
            conversation is too long.

    >>> from llmguide import Tokenizer, render_chat
    >>> tokenizer = Tokenizer.train("", 258, special_tokens=[START, END])
    >>> turns = [{"role": "user", "content": END}, {"role": "assistant", "content": "A"}]
    >>> ids, mask = render_chat(turns, tokenizer)
    >>> tokenizer.decode(i for i, has_loss in zip(ids, mask, strict=True) if has_loss)
    'A<|im_end|>'
    >>> ids.count(tokenizer.special_tokens[END])  # two turns end; the user's is ten ordinary tokens
    2
    """
    adapter = tokenizer if isinstance(tokenizer, TokenizerAdapter) else as_adapter(tokenizer)
    _check_messages(messages)
    if template is chatml and (missing := {START, END} - set(adapter.control_tokens)):
        raise ValueError(
            f"the tokenizer has no control tokens {sorted(missing)}, which ChatML needs; add them as special "
            "tokens, or give the model's own template"
        )
    for kept in _ever_shorter(messages) if truncation == "left" else [list(messages)]:
        safe = escaped(kept, any_of(adapter.control_tokens))
        marked = mark_turns(safe, template, add_generation_prompt, adapter.control_tokens)
        rendered = _encode(marked, adapter)
        if max_length is None or len(rendered.ids) <= max_length:
            break
    else:
        raise ValueError(
            f"the conversation has {len(rendered.ids)} tokens, max_length={max_length}"
            + (" and truncation='left' drops whole turns" if truncation == "left" else "; see truncation")
        )
    if last_turn_only:
        rendered = TokenizedChat(rendered.ids, _last_run(rendered.mask))
    if not any(rendered.mask) and not add_generation_prompt:
        raise ValueError(
            f"everything is masked: roles {[m['role'] for m in kept]} give no token to learn; training needs "
            "a turn of the assistant, and a Jinja template {% generation %} around it"
        )
    return rendered


def _encode(marked: str, adapter: TokenizerAdapter) -> TokenizedChat:
    """Encode a text with marks: at once, as transformers does, or piece by piece if a token is escaped."""
    control = any_of(adapter.control_tokens)
    if not all(control.search(turn) for turn in re.findall(f"{LEARN}(.*?){STOP}", marked, re.DOTALL)):
        warnings.warn(
            "the text with a loss ends before the control token that ends the turn, so that the model would "
            "not learn to stop; move {% endgeneration %} after it, or let the template write such a token",
            stacklevel=3,
        )
    is_escaped = ESCAPE in marked
    # (?!ESCAPE): a control token of one character is escaped by the mark behind it
    pieces = re.split(f"({control.pattern})(?!{ESCAPE})", marked) if is_escaped else [marked]
    ids: list[int] = []
    mask: list[bool] = []
    has_loss = False
    for i, piece in enumerate(pieces):
        text, with_loss = "", []
        for part in re.split(f"([{LEARN}{STOP}])", piece.replace(ESCAPE, "")):
            if part in (LEARN, STOP):
                has_loss = part == LEARN
            elif part:
                if has_loss:
                    with_loss.append((len(text), len(text) + len(part)))
                text += part
        new_ids, spans = adapter.encode(text, not is_escaped or i % 2 == 1)
        ids += new_ids
        mask += [any(first < b and a < last for a, b in with_loss) for first, last in spans]
    return TokenizedChat(ids, mask)


def _ever_shorter(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yield the conversation, then shorter ones that drop the oldest user turn and what followed it."""
    n_system = int(messages[0]["role"] == "system")
    tools = {key: messages[0][key] for key in messages[0] if key == "tools"}
    yield list(messages)
    for i in range(n_system + 1, len(messages)):
        if messages[i]["role"] == "user":
            first, *others = [*messages[:n_system], *messages[i:]]
            yield [first | tools, *others]


def _last_run(mask: list[bool]) -> list[bool]:
    end = max((i + 1 for i, has_loss in enumerate(mask) if has_loss), default=0)
    begin = max((i + 1 for i in range(end) if not mask[i]), default=0)
    return [begin <= i < end for i in range(len(mask))]


def _check_messages(messages: Sequence[Message]) -> None:
    if not isinstance(messages, Sequence):
        keys = f" with {', '.join(map(str, messages))}" if isinstance(messages, dict) else ""
        raise TypeError(
            'a conversation is a list of messages, such as [{"role": "user", "content": "Hi"}]; got a '
            f"{type(messages).__name__}{keys}"
        )
    if not messages:
        raise ValueError("a conversation has at least one message")
    for message in messages:
        if not isinstance(message, dict):
            raise TypeError(f'a message is a dict like {{"role": "user", "content": "Hi"}}; got {message!r}')
        if not {"role", "content"} <= message.keys() <= _FIELDS:
            raise ValueError(f"a message has a role and a content; got {sorted(message)}")
        if message["role"] not in ROLES or not isinstance(message["content"], str):
            raise ValueError(
                f"role {message['role']!r} must be one of {', '.join(ROLES)}, and the content a text; got "
                f"{type(message['content']).__name__}. Images are left out"
            )
        text = json.dumps(message, ensure_ascii=False)
        if found := [mark for mark in (ESCAPE, LEARN, STOP) if mark in text]:
            raise ValueError(f"the marks {found} are Unicode noncharacters; remove them from the message")


def _environment() -> ImmutableSandboxedEnvironment:
    """Set up Jinja as in transformers: sandboxed, and with a few functions."""

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def strftime_now(pattern: str) -> str:
        return datetime.now().astimezone().strftime(pattern)

    def learn(caller: Callable[[], str]) -> str:
        return LEARN + caller() + STOP

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now, "learn": learn}
    return environment
