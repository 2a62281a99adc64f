"""What the commands of post-training share: options, the model they start from, the folder they leave.

A run starts from a model and its way to chat: a run folder of ours, a folder of transformers or a name on the
hub, or nothing, and then a small GPT is made for the data. It leaves a folder that can be started from again.
"""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import torch

from llmguide.data.corpora import in_validation
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.files import write_json
from llmguide.models import GPT, Llama, build, to_hf
from llmguide.models.saved import is_saved
from llmguide.post_training.adapters.lora import apply_lora, merge_lora, remove_lora
from llmguide.post_training.adapters.peft_files import save_adapter
from llmguide.post_training.chat import (
    END,
    START,
    Message,
    Rendered,
    Template,
    chatml,
    own_template,
    render_chat,
)
from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.runs.folder import as_decoder, claim, load_run, n_params, save_run, say
from llmguide.runs.packaged import open_transformers
from llmguide.runs.shape import Shape, model_config
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import distributed
from llmguide.training.config import TrainConfig
from llmguide.training.monitor import JsonLinesLogger, Loggers, TensorBoardLogger

CHATML = (  # as Jinja, for tokenizers of transformers that come without a template
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

Config = TypeVar("Config", bound=TrainConfig | PolicyTrainerConfig)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Steps:
    """The training; what is not given fits the data."""

    n_steps: int | None = None  # updates; for ppo and grpo, rollouts
    batch_size: int | None = None  # examples, pairs or prompts of a step
    lr: float | None = None  # the peak
    checkpoint_every: int | None = None  # steps between checkpoints
    seed: int = 0  # of weights, data and draws

    def on(self, defaults: Config) -> Config:
        """Put what was given in the place of defaults.

        >>> Steps(batch_size=4).on(TrainConfig(n_steps=10, context_length=8)).batch_size
        4
        """
        return replace(defaults, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True)
class Lora:
    """Adapters to train instead of the weights; they are merged at the end, and saved for PEFT too."""

    lora_rank: int = 0  # 0: train all weights
    lora_alpha: float | None = None  # strength; twice the rank, unless given
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")  # layers, by the ends of names

    def into(self, model: Any) -> None:
        """Put adapters into a model, if there are to be any."""
        if self.lora_rank:
            alpha = 2 * self.lora_rank if self.lora_alpha is None else self.lora_alpha
            apply_lora(model, rank=self.lora_rank, alpha=alpha, targets=self.lora_targets)


SHAPE = Shape(dropout=0.1)  # people's comparisons are few: read many times


@dataclass(frozen=True)
class Origin:
    """The model to start from; sizes are those of a new small GPT, if none is given."""

    model: str | None = None  # a folder of a run (tiny world: of sft) or of transformers, hub or package name
    vocab_size: int = 2048  # ids of the tokenizer of a new model
    context_length: int = 256  # of a new model, and of any the most tokens of a text
    shape: Shape = SHAPE  # of a new model


@dataclass(frozen=True)
class Compared:
    """Comparisons of two answers."""

    data: str | None = None  # vader, hh, or a file of JSON lines; the tiny world, unless given
    n_pairs: int = 16_000  # drawn for training from vader's texts; half as many are held out
    held_out: float = 0.2  # share of texts or conversations that is evaluated on


STEPS, LORA, ORIGIN, COMPARED = Steps(), Lora(), Origin(), Compared()


@dataclass
class Chat:
    """A decoder with its tokenizer, and the template of its conversations."""

    model: GPT | Llama
    tokenizer: Any
    template: Template
    end_id: int  # ends an answer

    def rendered(
        self, messages: Sequence[Message], length: int, *, last_turn_only: bool = False
    ) -> Rendered | None:
        """Write a conversation in at most so many tokens, its oldest turns left out; None if it is too long.

        Nothing follows what is learned: the template may end a turn with a line feed, an answer does not.
        """
        options: dict[str, Any] = {"template": self.template, "last_turn_only": last_turn_only}
        found = render_chat(messages, self.tokenizer, **options)
        if len(found.ids) > length:
            try:
                found = render_chat(messages, self.tokenizer, max_length=length, truncation="left", **options)
            except ValueError:  # anything else would have been raised before
                return None
        end = max(i for i, is_learned in enumerate(found.mask) if is_learned) + 1
        return Rendered(found.ids[:end], found.mask[:end])

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Write what the assistant is to answer."""
        return render_chat(messages, self.tokenizer, template=self.template, add_generation_prompt=True).ids

    def decode(self, ids: list[int]) -> str:
        """Read an answer, without its end."""
        text: str = self.tokenizer.decode([i for i in ids if i != self.end_id])
        return text

    def save(self, folder: Path, model: GPT | Llama) -> None:
        """Write a model with the tokenizer, in the form that it came in."""
        save_as_opened(folder, model, self.tokenizer)


def open_chat(origin: Origin, texts: Iterable[str], *, seed: int) -> Chat:
    """Open a model to start from, with the control tokens that its conversations need.

    Args:
        origin: Where it is; without a model, a small GPT of its sizes is made.
        texts: To train the tokenizer of a new model on.
        seed: Of the weights that are new.

    Raises:
        ValueError: There is no such model, or it writes no text.
    """
    torch.manual_seed(seed)
    name = origin.model
    if name is None:
        special = [END_OF_TEXT, START, END]
        tokenizer = Tokenizer.train(texts, origin.vocab_size, special_tokens=special)
        config = model_config(tokenizer.vocab_size, origin.context_length, preset=None, shape=origin.shape)
        return Chat(as_decoder(build(config)), tokenizer, chatml, tokenizer.special_tokens[END])
    if is_saved(Path(name)):
        model, tokenizer = load_run(name)
        missing = [token for token in (START, END) if token not in tokenizer.special_tokens]
        if missing:
            new = {token: tokenizer.vocab_size + i for i, token in enumerate(missing)}
            tokens = tokenizer.special_tokens | new
            tokenizer = Tokenizer(tokenizer.ranks, pattern=tokenizer.pattern, special_tokens=tokens)
        return Chat(grown(model, tokenizer.vocab_size), tokenizer, chatml, tokenizer.special_tokens[END])
    return _open_transformers(name)


def save_as_opened(folder: Path, model: GPT | Llama, tokenizer: Any) -> None:
    """Write a model with a tokenizer of llmguide as a run, with one of transformers as those do."""
    if isinstance(tokenizer, Tokenizer):
        save_run(folder, model, tokenizer)
    else:
        to_hf(model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def grown(model: GPT | Llama, vocab_size: int) -> GPT | Llama:
    """Give a model room for more tokens; the new ones start as the mean of the others (Hewitt 2021).

    https://nlp.stanford.edu/~johnhew/vocab-expansion.html

    >>> from llmguide.config import ModelConfig
    >>> model = build(ModelConfig(vocab_size=3, context_length=4, n_layers=1, d_model=4, n_heads=2))
    >>> weight = grown(model, 4).tokens.weight
    >>> torch.allclose(weight[3], weight[:3].mean(0)), grown(model, 3) is model
    (True, True)
    """
    n_new = vocab_size - model.config.vocab_size
    if n_new <= 0:
        return model
    state = model.state_dict()
    for name in ("tokens.weight", "head.weight"):
        if name in state:
            mean = state[name].mean(dim=0, keepdim=True)
            state[name] = torch.cat([state[name], mean.expand(n_new, -1)])
    wider = as_decoder(build(replace(model.config, vocab_size=vocab_size)))
    wider.load_state_dict(state)
    return wider.train(model.training)


def begin(output: Path, **run: Any) -> torch.device:
    """Open a run: its folder keeps to one set of choices, and progress is shown.

    Returns:
        The device of this process.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("llmguide").setLevel(logging.INFO)
    device = distributed.init_process_group()
    if distributed.world().rank == 0:
        claim(output, json.loads(json.dumps(run, default=str)))
    wait()
    return device


def wait() -> None:
    """Let processes catch up, before one reads what another writes."""
    if distributed.world().size > 1:
        torch.distributed.barrier()


@contextmanager
def resumable(output: Path) -> Iterator[None]:
    """Say how to go on, where somebody stops a run."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nstopped; the same command goes on from the last checkpoint in {output / 'checkpoints'}")
        raise


class Lines:
    """A logger that writes about ten lines a run, for PPO and GRPO where nobody watches the terminal."""

    def __init__(self, n_steps: int):
        self.n_steps = n_steps

    def log(self, step: int, values: dict[str, float]) -> None:
        """Write the numbers that matter most."""
        if not sys.stderr.isatty() and (step == self.n_steps or step % max(1, self.n_steps // 10) == 0):
            shown = "  ".join(f"{name} {values[name]:.3g}" for name in ("reward", "kl", "entropy", "length"))
            say(f"step {step}/{self.n_steps}  {shown}")

    def text(self, step: int, text: str) -> None:
        """Write a text."""
        say(text)


def loggers(output: Path, *more: Any) -> Loggers | None:
    """Keep the numbers of a run, in the process that writes."""
    if distributed.world().rank > 0:
        return None
    return Loggers(JsonLinesLogger(output / "metrics.jsonl"), TensorBoardLogger(output / "logs"), *more)


def schedule(steps: Steps, *, n: int, epochs: float, batch_size: int, lr: float) -> TrainConfig:
    """Fit a training run to the number of examples.

    >>> config = schedule(Steps(batch_size=4), n=10, epochs=2, batch_size=16, lr=1e-3)
    >>> config.batch_size, config.n_steps
    (4, 5)
    """
    size = steps.batch_size or batch_size
    n_steps = steps.n_steps or max(1, ceil(epochs * n / size))
    return steps.on(
        TrainConfig(
            n_steps=n_steps,
            batch_size=size,
            lr=lr,
            weight_decay=0.01,
            eval_every=max(1, n_steps // 5),
            log_every=max(1, n_steps // 50),
        )
    )


def merged(model: Any) -> Any:
    """Copy a model to the CPU, with its adapters in the weights."""
    final = deepcopy(model).cpu().eval()
    if any(name.endswith(".A") for name, _ in final.named_parameters()):
        remove_lora(merge_lora(final))
    return final


def finish(output: Path, chat: Chat, model: Any, lora: Lora) -> None:
    """Write the model of a run, and its adapter by itself."""
    if distributed.world().rank == 0:
        chat.save(output, merged(model))
        if lora.lora_rank:
            save_adapter(model, output / "adapter")


def write_report(output: Path, content: dict[str, Any]) -> None:
    """Keep what was printed."""
    if distributed.world().rank == 0:
        write_json(output / "report.json", content)


def sides(items: Iterable[tuple[str, Item]], held_out: float) -> tuple[list[Item], list[Item]]:
    """Divide items by their names, for training and validation.

    Raises:
        ValueError: The share would leave nothing to train on.

    >>> sides([(name, name.upper()) for name in "abcd"], 0.5)
    (['A'], ['B', 'C', 'D'])
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"--held-out {held_out:g} is a share: at least 0 and below 1")
    parts: tuple[list[Item], list[Item]] = ([], [])
    for name, item in items:
        parts[in_validation(name, held_out)].append(item)
    return parts


def kept(found: Sequence[Item | None], what: str, length: int) -> list[Item]:
    """Leave out what was too long, and say how many.

    Raises:
        ValueError: Nothing stays.
    """
    items = [item for item in found if item is not None]
    if len(items) < len(found):
        say(f"{len(found) - len(items)} of {len(found)} {what} are longer than {length} tokens and left out")
    if not items:
        raise ValueError(f"no {what} of at most {length} tokens; give more data or a longer --context-length")
    return items


def describe(chat: Chat, device: torch.device, work: str) -> None:
    """Say what will be trained on what."""
    trained = sum(p.numel() for p in chat.model.parameters() if p.requires_grad)
    say(f"model: {n_params(chat.model):,} parameters, {trained:,} of them trained, on {device}; {work}")


def _open_transformers(name: str) -> Chat:
    model, tokenizer = open_transformers(name)
    if not tokenizer.chat_template:
        tokenizer.add_tokens([START, END], special_tokens=True)
        tokenizer.chat_template = CHATML
        tokenizer.eos_token = END
        model = grown(model, len(tokenizer))
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {name} has no eos_token, so no answer would end")
    return Chat(model, tokenizer, own_template(tokenizer), tokenizer.eos_token_id)
