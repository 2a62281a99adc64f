"""Fine-tune a pretrained model with LoRA to fill in the middle, and compare it with itself and a text search.

Such a model may have no token that it was trained to read as "here is the suffix". So both sides of the
cursor are plain text below two comments, the suffix first, and the completion directly continues the prefix.
The loss is on the prefix and the rest of its line, whose tokens are those of the uncut text. In a completion
the last token before the cursor is healed (`llmguide.projects.code_assistant.pretrained`).

Leaves out: DPO on comparisons, and suffixes that begin within a line.
"""

from pathlib import Path
from typing import Any

import torch

from llmguide.post_training.chat import TokenizedChat
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.projects.code_assistant.code import (
    CHARACTERS_AFTER,
    CHARACTERS_BEFORE,
    Cursor,
    Plan,
    files,
    places,
)
from llmguide.projects.code_assistant.metrics import copied, gain, score
from llmguide.projects.code_assistant.pretrained import (
    N_SHOWN,
    complete_lines,
    continue_lines,
    open_byte_level,
)
from llmguide.projects.pretrained import ADAPTER_TRAINING, HFTokenizer, adapt, separator
from llmguide.projects.run import Run, plan_of
from llmguide.projects.training import loss_curve, stage_config, train_stage
from llmguide.runs.chat_model import merged
from llmguide.runs.folder import n_params, say
from llmguide.training.losses import batch_loss

N_LINES = 150  # lines of the evaluation, the first of the project's; five systems complete them
COMPARED = {  # gains, and the two systems whose difference they are
    "over the search": ("model", "search"),
    "over the base": ("model", "base, no suffix"),
    "by the suffix": ("model", "model, no suffix"),
    "by the training": ("model", "base"),
    "of the base by the suffix": ("base", "base, no suffix"),
}


def learn_to_fill(run: Run) -> dict[str, Any]:
    """Train adapters of the base on cursors in the training code, and save the merged model."""
    plan = run.plan
    model, tokenizer = open_byte_level(plan.base)
    cursors = places(files(plan, held_out=False), plan.n_steps * plan.batch_size, seed=1 + run.seed)
    examples = [example(tokenizer, cursor) for cursor in cursors]
    examples = [example for example in examples if len(example.ids) <= plan.context_length]
    n_tokens = sum(len(example.ids) for example in examples)
    say(f"{n_params(model):,} parameters; {len(examples):,} cursors, {n_tokens:,} tokens")
    torch.manual_seed(run.seed)
    adapt(model, plan.lora_rank)
    config = stage_config(run, plan.n_steps, plan.lr, **ADAPTER_TRAINING)
    data = SFTDataset(examples, seed=run.seed)
    result = train_stage(run, "filling", model, data, config, loss=batch_loss)
    model = merged(model)
    run.save("models/filling", model, tokenizer)
    return {"n_params": n_params(model), "n_tokens": n_tokens, "curve": loss_curve(result.history)}


def prompt(before: str, after: str) -> str:
    r"""Write the text around a cursor, the suffix first; without a suffix it is the prefix alone.

    >>> prompt("x = f(", "\ny = 2\n")
    '# The code continues below:\ny = 2\n\n# The code above it:\nx = f('
    """
    before, after = before[-CHARACTERS_BEFORE:], after[:CHARACTERS_AFTER].strip("\n")
    return f"# The code continues below:\n{after}\n\n# The code above it:\n{before}" if after else before


def prompt_ids(tokenizer: HFTokenizer, before: str, after: str) -> list[int]:
    """Encode the text around a cursor."""
    return [separator(tokenizer), *tokenizer.encode(prompt(before, after))]


def example(tokenizer: HFTokenizer, cursor: Cursor) -> TokenizedChat:
    """Make a training example; the loss is on the prefix and the rest of its line, not on the suffix."""
    start = prompt_ids(tokenizer, "", cursor.after)
    whole = prompt_ids(tokenizer, cursor.before + cursor.rest + "\n", cursor.after)
    n = next(i for i, (a, b) in enumerate(zip([*start, None], whole, strict=False)) if a != b)
    return completion(whole[:n], whole[n:])


def measure(folder: Path) -> dict[str, Any]:
    """Let the model of a run, its base and the search complete lines of held-out modules."""
    plan = plan_of(Plan, folder)
    cursors = places(files(plan, held_out=True), N_LINES, seed=0)
    train_text = "\n".join(document.text for document in files(plan, held_out=False))
    base, tokenizer = open_byte_level(str(plan.base))
    tuned, _ = open_byte_level(folder / "models" / "filling")

    def fill(model: Any, *, suffix: bool = True) -> list[str]:
        rows = [prompt_ids(tokenizer, c.before, c.after if suffix else "") for c in cursors]
        return complete_lines(model, tokenizer, rows)

    completions = {
        "search": [copied(cursor.before, train_text) for cursor in cursors],
        "base, no suffix": continue_lines(base, tokenizer, cursors),
        "base": fill(base),
        "model, no suffix": fill(tuned, suffix=False),
        "model": fill(tuned),
    }
    shown = list(zip(cursors, completions["base"], completions["model"], strict=True))[:N_SHOWN]
    return {
        "lines": {name: score(texts, cursors) for name, texts in completions.items()},
        "gains": {
            name: gain(completions[one], completions[other], cursors)
            for name, (one, other) in COMPARED.items()
        },
        "samples": [
            {"before": c.before[-80:], "written": c.rest, "base": of_base, "filled in": of_model}
            for c, of_base, of_model in shown
        ],
    }
