"""``llmguide chat``: talk to a model, and see its responses as they are generated."""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from llmguide.files import write_json
from llmguide.generation.sampling import Sampler
from llmguide.nn._int4 import pack_int4
from llmguide.post_training.chat import START, Message, render_chat
from llmguide.runs.chat_model import Chat, as_chat
from llmguide.runs.packaged import Q4, is_packaged
from llmguide.runs.resolve import open_model
from llmguide.runs.reward_heads import refuse_reward_model
from llmguide.runs.text_generation import Continuations, chosen_device, pieces, until_stop
from llmguide.tokenization.tokenizer import Tokenizer

DESCRIPTION = """\
Talk to a chat model: a run of llmguide sft --data or of a stage after it, or, with llmguide[hf], a folder
that transformers saved or a name on the Hugging Face hub. Each line is a message, unless it starts with /:
/reset starts a new conversation, /save FILE writes it for --history, /help lists these commands, and /quit
or Ctrl-D ends. Ctrl-C stops a response or drops a line; the arrow keys edit it and go back to earlier ones.

Examples:
  llmguide chat runs/chat
  llmguide chat smollm2-135m-instruct --system "Answer in one sentence."
  llmguide chat HuggingFaceTB/SmolLM2-135M-Instruct --temperature 0 --history talk.json
  echo "What is a token?" | llmguide chat runs/chat --seed 7"""


def chat(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    *,
    system: str | None = None,
    history: Path | None = None,
    max_new_tokens: int | None = None,
    temperature: float = 0.7,
    top_k: int | None = None,
    top_p: float | None = 0.95,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    stop: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: unset)")] = (),
    seed: int | None = None,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
) -> None:
    """Talk to a model.

    Args:
        model: Run, checkpoint, LoRA adapter, folder of transformers, packaged model, or name on the hub.
        system: System message; without it, the chat template's own, if it has one.
        history: JSON file of the conversation, as llmguide sft reads it; continued if it exists, and written
            after each response.
        max_new_tokens: Most tokens of a response; 512, or half of a shorter context, unless given.
        temperature: Sampling temperature, at least 0; 0: greedy decoding.
        top_k: Sample from the k most likely tokens.
        top_p: Sample from the fewest tokens whose total probability is at least this.
        min_p: Sample from tokens at least this fraction as likely as the most likely one.
        repetition_penalty: Penalty of tokens that occurred; above 1 makes them less likely.
        stop: Texts that end a response besides the model's own stop tokens; they are not shown.
        seed: Seed of the sampling.
        device: Device of the model, such as cuda:1; by default the GPU if there is one.
        dtype: Data type of the weights; default: float32, but a packaged model runs on a CPU with weights in
            4 bits and everything else in bfloat16, its fastest form.
    """
    if "" in stop:
        raise ValueError("--stop '' would end each response before it begins; give a text")
    messages = _begin(system, history)
    place = chosen_device(device)
    if dtype is None and is_packaged(model) and place.type == "cpu":
        model, dtype = model.removesuffix(Q4) + Q4, "bfloat16"
    chat = _open(model)
    context = chat.model.config.context_length
    if max_new_tokens is None:
        max_new_tokens = min(512, context // 2)
    if max_new_tokens >= context:
        raise ValueError(f"--max-new-tokens {max_new_tokens} leaves no room in a context of {context} tokens")
    pack_int4(chat.model.to(place, getattr(torch, dtype or "float32")).eval())
    sampler = Sampler(temperature, top_k, top_p, min_p, repetition_penalty)
    sampler(torch.zeros(1, 2), torch.zeros(1, 1, dtype=torch.long))  # raises its errors before the first line
    generator = None if seed is None else torch.Generator(place).manual_seed(seed)
    texts = Continuations(chat.model)
    if sys.stdin.isatty():
        form = "4-bit weights, " if model.endswith(Q4) and is_packaged(model) else ""
        print(
            f"{model}: {form}{dtype or 'float32'} on {place}, context {context:,} tokens, "
            f"{texts.tokens_per_s():.0f} tokens/s; /help lists the commands"
        )
    for line in _lines():
        name, _, rest = line.partition(" ")
        if name == "/quit":
            break
        if name.startswith("/") and "/" not in name[1:]:  # a path is part of a message
            print(f"[{_obey(name, rest.strip(), messages)}]")
            continue
        messages.append({"role": "user", "content": line.strip()})
        try:
            prompt = _prompt(chat, messages, context - max_new_tokens)
        except ValueError as error:
            messages.pop()
            print(f"[{error}]")
            continue
        tokens = texts.stream(prompt, max_new_tokens, sampler=sampler, generator=generator)
        response = _printed(until_stop(_response(chat, prompt, tokens), stop))
        if not response:  # after an empty turn, models tend to respond with nothing
            messages.pop()
            print("[no response, so the message is dropped]")
            continue
        messages.append({"role": "assistant", "content": response})
        if history:
            write_json(history, {"messages": messages})


def _begin(system: str | None, history: Path | None) -> list[Message]:
    """Return the messages so far: those of the file, or the system message."""
    if history is None or not history.exists():
        return [] if system is None else [{"role": "system", "content": system}]
    if system is not None:
        raise ValueError(f"{history} holds a conversation already; leave --system out, or name another file")
    try:
        messages: list[Message] = json.loads(history.read_text(encoding="utf-8"))["messages"]
        roles = [message["role"] for message in messages]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{history} holds no conversation, {{"messages": [...]}}: {error}') from error
    for role, message in zip(roles, messages, strict=True):
        if role != "system":
            print(f"> {message['content']}" if role == "user" else message["content"])
    return messages


def _obey(name: str, rest: str, messages: list[Message]) -> str:
    """Carry out a command of the user, and return what to print."""
    if name == "/reset":
        messages[:] = [message for message in messages if message["role"] == "system"]
        return "a new conversation"
    if name == "/save" and rest:
        if Path(rest).exists():
            return f"{rest} exists; name another file"
        try:
            write_json(Path(rest), {"messages": messages})
        except OSError as error:
            return str(error)
        return f"saved; --history {rest} continues the conversation"
    unknown = "" if name in ("/help", "/save") else f"there is no command {name}; "
    return f"{unknown}/reset, /save FILE, /quit; a space before a / makes the line a message"


def _open(name: str) -> Chat:
    refuse_reward_model(name)
    model, tokenizer = open_model(name)
    if isinstance(tokenizer, Tokenizer) and START not in tokenizer.special_tokens:
        raise ValueError(
            f"{name} was not trained on conversations; continue a text with llmguide generate {name}, or "
            f"train it with llmguide sft --model {name}"
        )
    return as_chat(name, model, tokenizer)


def _lines() -> Iterator[str]:
    """Yield the user's messages, without empty lines, until the input ends; Ctrl-C drops a line."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with suppress(ModuleNotFoundError):  # Windows has its own
            import readline  # noqa: F401, PLC0415  # gives input() its editing and its history
    while True:
        try:
            line = input("> " if is_terminal else "").rstrip()
        except EOFError:
            return
        except KeyboardInterrupt:
            if not is_terminal:
                raise
            print()
            continue
        if line:
            yield line


def _prompt(chat: Chat, messages: list[Message], room: int) -> list[int]:
    """Encode the conversation in at most `room` tokens; the oldest turns are dropped if it is longer.

    Raises:
        ValueError: The last message alone is too long, or the template does not take the messages.
    """
    system = messages[:1] if messages[0]["role"] == "system" else []
    shortest = len(chat.prompt([*system, messages[-1]]))
    if shortest > room:
        needed = "with the system message and the chat template" if system else "with the chat template"
        raise ValueError(
            f"the message has {shortest:,} tokens {needed}, and the context leaves {room:,}; shorten it"
        )
    return render_chat(
        messages,
        chat.tokenizer,
        template=chat.template,
        add_generation_prompt=True,
        max_length=room,
        truncation="left",
    ).ids


def _response(chat: Chat, prompt: list[int], tokens: Iterator[int]) -> Iterator[str]:
    """Decode a response in pieces of text, up to its end token."""
    new = takewhile(lambda token: token not in chat.end_ids, tokens)
    yield from pieces(new, chat.tokenizer.decode, before=prompt, end_id=None)


def _printed(texts: Iterator[str]) -> str:
    """Print a response as it is generated, until it ends or the user stops it, and return it."""
    response = ""
    try:
        for text in texts:
            response += text
            sys.stdout.write(text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write(" [stopped]")
    sys.stdout.write("\n")
    return response


COMMAND = chat
