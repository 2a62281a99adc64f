"""Compare a pretrained model, which was not trained to fill in the middle, with a text search.

It reads the text before the cursor only. Most cursors are inside a word, where the tokens of the text so far
are not those of the whole word. So the last token is removed, and the first new token must begin with its
characters (token healing). The lines are those on which the project measures its own models.

Examples::

    python -m llmguide.projects.code_assistant.pretrained smollm2-135m-instruct record.json
    python -m llmguide.projects.code_assistant.pretrained openai-community/gpt2 record.json --corpus my-code/

Reference: Lundberg 2023, "The Art of Prompt Design: Prompt Boundaries and Token Healing".

Leaves out: removing more than one token.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.generation.sampling import Sampler
from llmguide.projects.code_assistant.code import N_TESTS, NAME, Cursor, Plan, files, places
from llmguide.projects.code_assistant.metrics import copied, gain, most_frequent_rest, score
from llmguide.projects.generation import complete
from llmguide.projects.pretrained import HFTokenizer, open_pretrained
from llmguide.projects.run import write_measurement
from llmguide.runs.folder import n_params, say

BATCH_SIZE = 40
MAX_NEW_TOKENS = 32  # about as many characters as the project's 48 of a smaller vocabulary
CONTEXT = 128  # tokens before the cursor; about as many characters as the project's model reads
SEED = 0  # of the lines, those of the project
N_SHOWN = 6  # lines of which a record has the completions
CHARACTERS_A_TOKEN = 12  # more than almost all tokens of code have


class Healing:
    """A sampler whose first token must be one of those allowed for its row.

    Args:
        allowed: Ids that each row may begin with.
        n_prompt: Tokens of the padded prompts.
        sampler: Sampler of the allowed tokens.
    """

    def __init__(self, allowed: Sequence[Sequence[int]], n_prompt: int, sampler: Sampler):
        self.allowed, self.n_prompt, self.sampler = allowed, n_prompt, sampler

    def __call__(self, logits: Tensor, ids: Tensor, generator: torch.Generator | None) -> Tensor:
        """Sample one token for each row."""
        if ids.shape[1] == self.n_prompt:
            mask = torch.full_like(logits, float("-inf"))
            for row, row_ids in zip(mask, self.allowed, strict=True):
                row[list(row_ids)] = 0.0
            logits = logits + mask
        return self.sampler(logits, ids, generator)


def open_byte_level(name: str | Path) -> tuple[Any, HFTokenizer]:
    """Open a pretrained model with its byte-level tokenizer.

    Args:
        name: Name or folder of the model, as `llmguide.projects.pretrained.open_pretrained` takes it.

    Raises:
        ValueError: The tokenizer is not one of transformers.
    """
    model, tokenizer = open_pretrained(name)
    if not isinstance(tokenizer, HFTokenizer):
        raise ValueError(f"{name} has no tokenizer of transformers; give a published model")  # noqa: TRY004
    return model, tokenizer


def continue_lines(
    model: Any, tokenizer: HFTokenizer, cursors: Sequence[Cursor], context: int = CONTEXT
) -> list[str]:
    """Let a pretrained model complete the line at each cursor from the text before it.

    Args:
        model: Decoder to measure.
        tokenizer: Byte-level tokenizer of the model.
        cursors: Cursors whose lines are completed.
        context: Most tokens before the cursor.
    """
    before = [c.file[max(0, c.at - CHARACTERS_A_TOKEN * context) : c.at] for c in cursors]
    return complete_lines(model, tokenizer, [tokenizer.encode(text)[-context:] for text in before])


def complete_lines(model: Any, tokenizer: HFTokenizer, rows: Sequence[list[int]]) -> list[str]:
    """Complete the line in which each row of token ids ends, greedily and with token healing.

    Args:
        model: Decoder that completes.
        tokenizer: Byte-level tokenizer of the model.
        rows: Token ids of each prompt, which ends at the cursor.
    """
    end, lines = tokenizer.special_tokens[END_OF_TEXT], [""] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # similar lengths need little padding
    for first in range(0, len(rows), BATCH_SIZE):
        batch = order[first : first + BATCH_SIZE]
        prompts = [rows[i][:-1] or [end] for i in batch]
        allowed = [beginning_with(tokenizer, rows[i][-1]) for i in batch]
        texts = complete(
            model,
            prompts,
            MAX_NEW_TOKENS,
            decode=tokenizer.decode,
            end_id=end,
            batch_size=BATCH_SIZE,
            temperature=1.0,  # the sampler decides
            sampler=Healing(allowed, max(map(len, prompts)), Sampler(temperature=0)),
        )
        for i, text in zip(batch, texts, strict=True):
            removed = tokenizer.decode(rows[i][-1:])
            lines[i] = text[len(removed) :].partition("\n")[0]
        say(f"completed {first + len(batch):,} of {len(rows):,} lines")
    return lines


def beginning_with(tokenizer: HFTokenizer, token: int) -> list[int]:
    """Return the ids of the tokens whose characters begin with those of a token."""
    vocab: dict[str, int] = tokenizer.tokenizer.get_vocab()
    [name] = tokenizer.tokenizer.convert_ids_to_tokens([token])
    return [i for other, i in vocab.items() if other.startswith(name)]


def measure(name: str, plan: Plan, context: int, n_lines: int) -> dict[str, Any]:
    """Complete lines of held-out modules with a pretrained model, the search and the most frequent ending.

    Args:
        name: Name or folder of the model.
        plan: Plan of the project, which names the code base.
        context: Most tokens before the cursor that the model reads.
        n_lines: Lines to complete.
    """
    cursors = places(files(plan, held_out=True), n_lines, seed=SEED)
    documents = files(plan, held_out=False)
    train_text = "\n".join(document.text for document in documents)
    model, tokenizer = open_byte_level(name)
    completions = {
        "usual": [most_frequent_rest(documents)] * len(cursors),
        "search": [copied(cursor.before, train_text) for cursor in cursors],
        "pretrained": continue_lines(model, tokenizer, cursors, context),
    }
    found = completions["pretrained"]
    shown = zip(cursors[:N_SHOWN], found[:N_SHOWN], strict=True)
    return {
        "n_params": n_params(model),
        "lines": {system: score(texts, cursors) for system, texts in completions.items()},
        "gains": {other: gain(found, completions[other], cursors) for other in ("usual", "search")},
        "samples": [{"before": c.before[-80:], "written": c.rest, "completed": text} for c, text in shown],
    }


def main() -> None:
    """Measure a model, and write a record of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base", help="packaged name, folder or hub name of the model")
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--corpus", help="folder of Python code (default: the standard library)")
    parser.add_argument(
        "--context", type=int, default=CONTEXT, help="most tokens before the cursor (%(default)s)"
    )
    parser.add_argument("--n-lines", type=int, default=N_TESTS, help="lines to complete (%(default)s)")
    args = parser.parse_args()
    results = measure(args.base, Plan(corpus=args.corpus), args.context, args.n_lines)
    plan = {"base": args.base, "corpus": args.corpus, "context": args.context, "n_lines": args.n_lines}
    module = "llmguide.projects.code_assistant.pretrained"
    write_measurement(args.output, NAME, module, plan, results, seed=SEED)
    for system, line_scores in results["lines"].items():
        say(f"{system:12} similarity {line_scores['similarity']:.3f}")


if __name__ == "__main__":
    main()
