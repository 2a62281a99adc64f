"""A decoder that can chat: open it from any kind of folder or name, and save it in the same format."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.models import GPT, Llama, build
from llmguide.post_training.adapters.lora import merge_lora, remove_lora
from llmguide.post_training.adapters.peft_files import save_adapter
from llmguide.post_training.adapters.quantized_linear import dequantize_model
from llmguide.post_training.chat import (
    END,
    START,
    Message,
    Template,
    TokenizedChat,
    chatml,
    own_template,
    render_chat,
)
from llmguide.post_training.datasets import Messages
from llmguide.runs.folder import as_decoder, save_run, say
from llmguide.runs.options import LORA, MODEL_SOURCE, SHAPE, Lora, ModelSource
from llmguide.runs.resolve import open_model, place_or_name, resize_vocab
from llmguide.runs.shape import decoder_config
from llmguide.runs.transformers_folder import CHATML, save_tokenizer, save_transformers, stop_ids
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import distributed


@dataclass
class Chat:
    """A decoder with its tokenizer and chat template.

    Attributes:
        model: Decoder with adapters, if it has any.
        tokenizer: Tokenizer of llmguide or of transformers.
        template: Chat template.
        end_id: Id of the token that ends a response.
        stop_ids: Ids of other tokens that end a response, from ``generation_config.json``.
        n_truncated: Number of conversations that `rendered` has truncated.
        base: Path or name that the model was opened by; None: it is new.
    """

    model: GPT | Llama
    tokenizer: Any
    template: Template
    end_id: int
    stop_ids: frozenset[int] = frozenset()
    n_truncated: int = 0
    base: str | None = None

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Ids of all tokens that end a response, the one that is trained first."""
        return (self.end_id, *sorted(self.stop_ids))

    def rendered(
        self, messages: Sequence[Message], length: int, *, response: str | None = None
    ) -> TokenizedChat | None:
        """Encode a conversation in at most `length` tokens, without its oldest turns; None if it is too long.

        Tokens after the last target are dropped: a template may add a newline after a turn, but a response
        ends at its end token.

        Args:
            messages: Conversation, or the messages before `response`.
            length: Most tokens.
            response: Last turn of the assistant, which alone has a loss; None: all its turns have a loss.

        Raises:
            ValueError: The chat template refuses the conversation; the message names the row.
        """
        rendered = self._render(messages, response)
        if len(rendered.ids) > length:
            try:
                rendered = self._render(messages, response, max_length=length, truncation="left")
            except ValueError:  # other errors would have been raised before
                return None
            self.n_truncated += 1
        end = max(i for i, is_target in enumerate(rendered.mask) if is_target) + 1
        return TokenizedChat(rendered.ids[:end], rendered.mask[:end])

    def report_truncated(self, what: str, length: int) -> None:
        """Print how many conversations were truncated since the last report."""
        if self.n_truncated:
            say(f"truncated {self.n_truncated} {what}: their oldest turns do not fit into {length} tokens")
        self.n_truncated = 0

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Encode messages as a prompt, with the header of the assistant's turn."""
        return self._render(messages, add_generation_prompt=True).ids

    def _render(
        self, messages: Sequence[Message], response: str | None = None, **options: Any
    ) -> TokenizedChat:
        reply = [] if response is None else [{"role": "assistant", "content": response}]
        options |= {"template": self.template, "last_turn_only": response is not None}
        try:
            return render_chat([*messages, *reply], self.tokenizer, **options)
        except ValueError as error:
            if not isinstance(messages, Messages):
                raise
            raise ValueError(f"{messages.where}: {error}") from error

    def decode(self, ids: list[int]) -> str:
        """Decode a response, without the token that ends it."""
        text: str = self.tokenizer.decode([i for i in ids if i not in self.end_ids])
        return text

    def save(self, folder: Path, model: GPT | Llama) -> None:
        """Save a model with the tokenizer, in the format that they were opened in."""
        save_as_opened(folder, model, self.tokenizer)

    def save_tokenizer(self, output: Path) -> None:
        """Save the tokenizer when a run starts, so that its checkpoints can be opened."""
        if distributed.world().rank == 0:
            save_tokenizer(output, self.tokenizer)


def open_chat(source: ModelSource, texts: Iterable[str], *, seed: int, lora: Lora = LORA) -> Chat:
    """Open a model to start from, with the control tokens of its chat template.

    Args:
        source: Folder or name of the model; without one, a small GPT of the given sizes is created.
        texts: Training texts of a new model's tokenizer.
        seed: Seed of new weights.
        lora: LoRA options; adapters leave the embeddings of new tokens as they are.

    Raises:
        ValueError: There is no such model, it is not a decoder, or the sizes of a new one are given, too; or
            it is to be trained with LoRA and needs new tokens.
    """
    torch.manual_seed(seed)
    name = source.model
    if name is not None and (source.vocab_size, source.shape) != (MODEL_SOURCE.vocab_size, SHAPE):
        raise ValueError(
            "--vocab-size, --n-layers, --d-model, --n-heads and --dropout are those of a new model; drop "
            "them, or --model"
        )
    if name is None:
        special = [END_OF_TEXT, START, END]
        tokenizer = Tokenizer.train(texts, source.vocab_size, special_tokens=special)
        config = decoder_config(tokenizer.vocab_size, source.context_length, preset=None, shape=source.shape)
        return Chat(as_decoder(build(config)), tokenizer, chatml, tokenizer.special_tokens[END])
    model, tokenizer = open_model(name)
    is_own = isinstance(tokenizer, Tokenizer)
    vocabulary = tokenizer.special_tokens if is_own else tokenizer.get_vocab()
    has_tokens = {START, END} <= vocabulary.keys()
    if not (has_tokens if is_own else tokenizer.chat_template):
        note = f"{name} has no chat template, so it gets ChatML"
        note += "" if has_tokens else f", with new tokens {START} and {END}"
        if lora.lora_rank and not has_tokens:
            raise ValueError(
                f"{note}, whose embeddings LoRA would leave untrained, so that no response would end; leave "
                "out --lora-rank, or start from a model that has a chat template"
            )
        say(note)
    return as_chat(name, model, tokenizer)


def as_chat(name: str, model: GPT | Llama, tokenizer: Any) -> Chat:
    """Prepare a model to chat: add the control tokens of ChatML if its tokenizer has no chat template.

    Raises:
        ValueError: The tokenizer has no token that could end a response.
    """
    if isinstance(tokenizer, Tokenizer):
        missing = [token for token in (START, END) if token not in tokenizer.special_tokens]
        if missing:
            new = {token: tokenizer.vocab_size + i for i, token in enumerate(missing)}
            tokens = tokenizer.special_tokens | new
            tokenizer = Tokenizer(tokenizer.ranks, pattern=tokenizer.pattern, special_tokens=tokens)
            model = resize_vocab(model, tokenizer.vocab_size)
        return Chat(model, tokenizer, chatml, tokenizer.special_tokens[END], base=name)
    if not tokenizer.chat_template:
        tokenizer.add_tokens([START, END], special_tokens=True)
        tokenizer.chat_template = CHATML
        tokenizer.eos_token = END
        model = resize_vocab(model, len(tokenizer))
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {name} has no eos_token, so no response would end")
    end_id = tokenizer.eos_token_id
    stops = stop_ids(tokenizer) - {end_id}
    return Chat(model, tokenizer, own_template(tokenizer), end_id, stops, base=name)


def save_as_opened(folder: Path, model: GPT | Llama, tokenizer: Any) -> None:
    """Save a model in the format of its tokenizer: as a run of llmguide, or as a folder of transformers."""
    if isinstance(tokenizer, Tokenizer):
        save_run(folder, model, tokenizer)
    else:
        save_transformers(folder, model, tokenizer)


def merged(model: Any) -> Any:
    """Copy a model to the CPU, with its adapters merged into the weights."""
    final = deepcopy(model).cpu().eval()
    if any(name.endswith(".A") for name, _ in final.named_parameters()):
        remove_lora(merge_lora(dequantize_model(final)))
    return final


def save_trained(output: Path, chat: Chat, model: Any, lora: Lora) -> None:
    """Save the model of a run with its adapters merged, and the adapters by themselves, in one process."""
    if distributed.world().rank == 0:
        chat.save(output, merged(model))
        if lora.lora_rank:
            place = output / "adapter"
            save_adapter(model, place, base=None if chat.base is None else place_or_name(chat.base))
            save_tokenizer(place, chat.tokenizer)
