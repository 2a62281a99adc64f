"""The models of the instruction tuning project: the base, and how each condition fine-tunes it."""

from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmguide.post_training.adapters.quantized_linear import quantize_model
from llmguide.post_training.chat import END, START, chatml
from llmguide.post_training.tokenizer_interface import as_adapter
from llmguide.projects.fine_tuning.project import adapt, linear_layers
from llmguide.projects.instruction_tuning.data import HELD_OUT
from llmguide.projects.run import load_weights
from llmguide.runs.chat_model import Chat, open_chat
from llmguide.runs.options import ModelSource


class Condition(NamedTuple):
    """A method of fine-tuning, and the temperature of its data mixture."""

    method: Literal["QLoRA", "LoRA", "all weights"]
    temperature: float

    @property
    def name(self) -> str:
        """Its name, in the record and in file names."""
        mixture = {1.0: "in proportion", inf: "all the same"}.get(self.temperature)
        return f"{self.method}, {mixture or f'temperature {self.temperature:g}'}"


CHECKED = Condition("QLoRA", 2.0)
CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("QLoRA", 1.0),
        CHECKED,
        Condition("QLoRA", inf),
        Condition("LoRA", 2.0),
        Condition("all weights", 2.0),
    )
}


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    base: str = "smollm2-135m-instruct"  # a packaged model, a run folder, one of transformers, or a hub name
    data: str | None = None  # JSON lines with task, prompt and completion; None: the built-in types
    held_out: tuple[str, ...] = HELD_OUT  # types of instructions that are held out
    context_length: int = 64  # tokens of an instruction and its answer
    n_steps: int = 40  # optimizer steps of each fine-tuning
    batch_size: int = 8  # conversations of an optimizer step
    rank: int = 8  # rank of the adapters
    adapter_rate: float = 1e-3  # peak learning rate of the adapters
    full_rate: float = 5e-5  # peak learning rate of full fine-tuning


def open_condition(folder: Path, plan: Plan, condition: Condition | None) -> Chat:
    """Open a fine-tuned model; None: the base."""
    chat = open_base(plan)
    if condition is not None:
        prepare(chat.model, condition, plan.rank)
        is_full = condition.method == "all weights"
        chat.model.load_state_dict(load_weights(folder, condition.name), strict=is_full)
    chat.model.eval()
    return chat


def open_base(plan: Plan) -> Chat:
    """Open the base, with plain ChatML if it has its tokens: few templates mark the assistant's tokens."""
    chat = open_chat(ModelSource(model=plan.base), [], seed=0)
    adapter = as_adapter(chat.tokenizer)
    if not {START, END} <= set(adapter.control_tokens):
        return chat
    return replace(chat, template=chatml, end_id=adapter.encode(END, True)[0][0])


def prepare(model: Any, condition: Condition, rank: int) -> None:
    """Prepare a base for fine-tuning, in place: quantized or not, with adapters or without."""
    if condition.method == "QLoRA":
        quantize(model)
    if condition.method != "all weights":
        adapt(model, rank)


def quantize(model: Any) -> Any:
    """Quantize the linear layers of the blocks to four bits, in place; the head stays, as is usual."""
    return quantize_model(model, [name for name in linear_layers(model) if name != "head"])
