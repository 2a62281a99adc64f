"""Mark the text with a loss in a rendered conversation, and escape control tokens that users wrote.

A chat template may mark what the assistant writes with ``{% generation %}``; most published ones do not. Then
a turn of the assistant has a loss from where the generation prompt before it ends, to the control token that
ends the turn. The marks are Unicode noncharacters, which ordinary text does not contain.
"""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

ESCAPE, LEARN, STOP = "\ufdd0", "\ufdd1", "\ufdd2"  # splits a control token; starts and ends text with a loss

_Message = dict[str, Any]
_Template = Callable[[Sequence[_Message], bool], str]  # as in `llmguide.post_training.chat`


def mark_turns(
    messages: Sequence[_Message],
    template: _Template,
    add_generation_prompt: bool,
    control_tokens: Collection[str],
) -> str:
    """Write messages with marks around the text with a loss.

    Args:
        messages: Turns, with their control tokens escaped.
        template: Chat template.
        add_generation_prompt: Whether to append the header of the assistant's next turn.
        control_tokens: Control tokens of the tokenizer.

    Raises:
        ValueError: The template leaves out tools, or it is unclear which text the assistant writes.
    """
    text = template(messages, add_generation_prompt)
    for field in ("tools", "tool_calls"):
        without = [{key: message[key] for key in message if key != field} for message in messages]
        try:
            is_left_out = without != messages and template(without, add_generation_prompt) == text
        except ValueError:  # it refuses results of tools without their calls
            continue
        if is_left_out:
            raise ValueError(
                f"the chat template does not write {field}; leave them out, or use another model"
            )
    if LEARN in text:
        return text
    marked, position = "", 0
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = template(messages[:i], True)
        turn = _turn(message, messages[:i], template, control_tokens)
        found = turn and text.startswith(prompt) and turn.search(text, len(prompt))
        # a template may write a tool's result into the turn that called it
        if not found or text[len(prompt) : found.end()] not in template(messages[: i + 1], False):
            raise ValueError(
                f"the chat template writes message {i + 1} otherwise than it prompts for it, so what the "
                "model generates cannot be told; put {% generation %} around that in the template"
            )
        marked += text[position : len(prompt)] + LEARN + text[len(prompt) : found.end()] + STOP
        position = found.end()
    return marked + text[position:]


def escaped(value: Any, control_tokens: re.Pattern[str]) -> Any:
    r"""Escape every control token in a message, however nested, with a mark after its first character.

    >>> escaped([{"content": "a<s>"}], re.compile("<s>"))
    [{'content': 'a<\ufdd0s>'}]
    """
    if isinstance(value, str):
        return control_tokens.sub(lambda found: found[0][0] + ESCAPE + found[0][1:], value)
    if isinstance(value, list):
        return [escaped(item, control_tokens) for item in value]
    if isinstance(value, dict):
        return {key: escaped(item, control_tokens) for key, item in value.items()}
    return value


def any_of(names: Collection[str]) -> re.Pattern[str]:
    """Compile a pattern that finds any of the names, the longest first.

    >>> any_of(["<s>", "<s>s"]).findall("a<s>s<s>")
    ['<s>s', '<s>']
    """
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")  # (?!) matches nothing


def _turn(
    message: _Message, before: Sequence[_Message], template: _Template, control_tokens: Collection[str]
) -> re.Pattern[str] | None:
    """Return a pattern that ends where the turn of the assistant ends."""
    control = any_of(control_tokens).pattern
    if not message.get("tool_calls"):
        content = re.escape(message["content"].strip())
        # not as an alternative: Python takes quadratic time to factor out a common prefix
        return re.compile(f"{content}(?:\\s*(?:{control}))?")
    # Tool calls have control tokens of their own, so find the one that ends a turn without calls.
    probe = template([*before, {"role": "assistant", "content": "probe"}], False)
    found = re.search(f"probe\\s*({control})", probe)
    return found and re.compile(re.escape(found[1]))
