"""The exercise of packing fine-tuning examples into rows."""

from functools import partial

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.exercises.definition import Arguments, Exercise, Mistake

Row = tuple[list[int], list[int], list[int]]


def pack(
    examples: list[tuple[list[int], list[int]]],
    length: int,
    *,
    learned: str = "response",
    shift: int = 1,
    joined: bool = False,
    restart: bool = True,
    next_fit: bool = False,
    padding: int = IGNORE_INDEX,
) -> list[Row]:
    """Pack fine-tuning examples into rows, with switches for the mistakes."""
    rows: list[Row] = []
    for prompt, response in examples:
        ids = [*prompt, *response]
        fits = [row for row in rows[-1 if next_fit else 0 :] if len(row[0]) + len(ids) <= length]
        row = fits[0] if fits else ([], [], [])
        if not fits:
            rows.append(row)
        labels = [token if learned == "all" else IGNORE_INDEX for token in prompt] + response
        targets = [*labels, IGNORE_INDEX][shift : shift + len(ids)]
        if learned == "inputs":  # the mask of the inputs on the next tokens
            targets = [IGNORE_INDEX] * len(prompt) + [*response[1:], IGNORE_INDEX]
        if joined and row[1]:
            row[1][-1] = labels[0]
        start = 0 if restart else len(row[0])
        row[0].extend(ids)
        row[1].extend(targets)
        row[2].extend(range(start, start + len(ids)))
    for inputs, targets, positions in rows:
        missing = length - len(inputs)
        inputs.extend([0] * missing)
        targets.extend([padding] * missing)
        positions.extend([0] * missing)
    return rows


def _pack_probes() -> list[Arguments]:
    examples = [([11, 12], [13, 14]), ([21], [22, 23, 24]), ([], [31, 32]), ([41, 42], [43])]
    return [
        (examples, 8),
        (examples[1:], 6),
        ([([11, 12, 13], [14, 15]), ([21, 22], [23, 24]), ([31], [32])], 7),
        ([], 4),
    ]


EXERCISES = (
    Exercise(
        "pack",
        "pack(examples, length) packs fine-tuning examples into rows of `length` tokens. An example is a "
        "pair of lists of ids: a prompt, which may be empty, and a response. Take the examples in the given "
        "order. Put each one whole into the first row that has room for it, after the examples that are "
        "already there; if no row has room, open a new one at the end. No example is longer than a row. "
        "Return the list of rows. A row is a tuple (inputs, targets, positions) of three lists of `length` "
        "ints. The inputs are all tokens of its examples. `targets[i]` is the token that the model has to "
        "predict from the inputs up to index i, or -100 where there is no loss. There is a loss on all "
        "tokens of the responses and on nothing else. No token is predicted from another example, so the "
        "first token of a response without a prompt has no loss. A position is the index of a token in its "
        "own example, from 0. Fill rows up with input 0, target -100 and position 0.",
        pack,
        _pack_probes,
        (
            Mistake(
                "label shift forgotten",
                "the target is the token at the same index, not the next one",
                "The model has already read the token at this index. It has to predict the one that follows.",
                partial(pack, shift=0),
            ),
            Mistake(
                "mask of the input",
                "there is a loss where the input is a response token",
                "What counts is the target. The last token of the prompt predicts the first of the response.",
                partial(pack, learned="inputs"),
            ),
            Mistake(
                "loss on the prompt",
                "prompt tokens are targets as well",
                "Targets that belong to a prompt are -100.",
                partial(pack, learned="all"),
            ),
            Mistake(
                "examples run into each other",
                "the last token of an example predicts the first token of the next one",
                "Build the targets of each example by itself; the last of them is -100. With a prompt that "
                "is not empty, the mask hides this mistake.",
                partial(pack, joined=True),
            ),
            Mistake(
                "positions run on",
                "the positions are counted through the row",
                "Each example starts again at position 0.",
                partial(pack, restart=False),
            ),
            Mistake(
                "only the last row tried",
                "an example goes to the last row or to a new one",
                "An earlier row may still have room. Look at all rows, from the first on.",
                partial(pack, next_fit=True),
            ),
            Mistake(
                "padding learned",
                "the target of the padding is 0, so that the model learns to predict padding",
                "The target of padding is -100.",
                partial(pack, padding=0),
            ),
        ),
        (
            "Split the work: first the ids, targets and positions of one example, then the row that they go "
            "to, and last the padding.",
            "For one example, write -100 for each prompt token, followed by the response. How do you get "
            "from these labels to targets that are one step ahead?",
            "Drop the first label and append -100. The first row with room is next(row for row in rows if "
            "...), with a default for the case that there is none.",
        ),
        level="medium",
        minutes=25,
        after="Packing also needs an attention mask, so that no example attends to another one. The "
        "positions that restart at 0 are how kernels for packed rows learn where an example begins.",
    ),
)
