"""Source code to train and test on: files, blocks, and cursors within lines."""

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmguide.data.corpora import load_corpus, standard_library
from llmguide.data.documents import Document
from llmguide.data.splits import in_validation
from llmguide.data.tokens.fill_in_the_middle import Parts, cut
from llmguide.projects.run import require_at_least_one

NAME = "code-assistant"
HELD_OUT = 0.1  # fraction of the modules
N_TESTS = 400  # lines of the evaluation
BLOCK_SIZE = 480  # fewest characters of a block of lines
CHARACTERS_BEFORE, CHARACTERS_AFTER = 320, 160  # characters around the cursor that the model is given


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    corpus: str | None = None  # a folder of Python; None: the source of its standard library
    feedback: str | None = None  # the application's database; None: a simulated developer
    characters: int = 4_000_000  # characters of code to train on
    vocab_size: int = 1024  # token ids of the tokenizer
    n_layers: int = 3  # blocks of the model
    d_model: int = 96  # width of the model
    n_heads: int = 3  # attention heads
    context_length: int = 256  # tokens of prefix, suffix and completion
    batch_size: int = 8  # rows of an optimizer step, each full of blocks
    n_steps: int = 800  # optimizer steps
    lr: float = 1e-2  # peak learning rate
    n_pairs: int = 2000  # pairs of completions that the simulated developer compares
    preference_rate: float = 1.5e-3  # peak learning rate of DPO
    beta: float = 0.1  # KL coefficient of DPO
    base: str | None = None  # pretrained model to adapt, such as smollm2-135m-instruct; None: a small new one
    lora_rank: int = 16  # rank of the adapters in the upper half of the base
    bugs_per_program: int = 0  # most debugging examples from a program; 0: the base learns no debugging

    def __post_init__(self) -> None:
        """Refuse what would fail only after minutes, or what would be ignored."""
        require_at_least_one(self, "lora_rank")
        if self.base is not None and self.feedback is not None:
            raise ValueError("--feedback is for the model from scratch; a --base is not trained with DPO")
        if self.bugs_per_program and self.base is None:
            raise ValueError("--bugs-per-program needs a --base: the model from scratch learns no debugging")


class Cursor(NamedTuple):
    """A cursor in a file, and the rest of its line.

    Attributes:
        file: Whole text of the file.
        at: Position of the cursor, in characters.
        rest: The original text from the cursor to the end of the line.
    """

    file: str
    at: int
    rest: str

    @property
    def before(self) -> str:
        """Text before the cursor, cut to what the model is given."""
        return self.file[max(0, self.at - CHARACTERS_BEFORE) : self.at]

    @property
    def after(self) -> str:
        """Text after the line, cut to what the model is given."""
        end = self.at + len(self.rest)
        return self.file[end : end + CHARACTERS_AFTER]


def code(plan: Plan) -> Iterator[Document]:
    """Read the modules of the code base."""
    corpus = load_corpus(plan.corpus) if plan.corpus else standard_library()
    return (document for document in corpus if document.id.endswith(".py"))


def files(plan: Plan, *, held_out: bool) -> list[Document]:
    """Read shuffled modules of one side of the code, up to the plan's number of characters."""
    documents = [document for document in code(plan) if in_validation(document.id, HELD_OUT) == held_out]
    random.Random(0).shuffle(documents)
    side, n = [], 0
    for document in documents:
        if n < plan.characters:
            side.append(document)
            n += len(document.text)
    return side


def blocks(text: str) -> Iterator[str]:
    r"""Split a file into blocks of whole lines.

    >>> [len(block) for block in blocks("x = 1\n" * 200)]
    [480, 480, 240]
    """
    block = ""
    for line in text.splitlines(keepends=True):
        block += line
        if len(block) >= BLOCK_SIZE:
            yield block
            block = ""
    if block:
        yield block


def parts(block: str, rng: random.Random) -> Parts:
    """Cut a block in three: in half of the cases at random, else at a cursor and the end of its line."""
    if rng.random() < 0.5:
        return cut(block, rng)
    at = rng.randrange(len(block))
    end = block.find("\n", at)
    end = len(block) if end < 0 else end
    return Parts(block[:at], block[at:end], block[end:])


def places(documents: Sequence[Document], n: int, *, seed: int) -> list[Cursor]:
    """Sample cursors within lines of code, with at least four characters on both sides of the line.

    Args:
        documents: Python files; those that do not parse are left out.
        n: Number of cursors.
        seed: Seed of the sample.
    """
    rng = random.Random(seed)
    cursors: list[Cursor] = []
    texts = [document.text for document in documents if parses(document.text)]
    while len(cursors) < n and texts:
        text = rng.choice(texts)
        at = rng.randrange(len(text) + 1)
        first, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        line, rest = text[first:at].strip(), text[at:end] if end >= 0 else text[at:]
        if len(line) >= 4 and len(rest.strip()) >= 4 and not line.startswith("#"):
            cursors.append(Cursor(text, at, rest))
    return cursors


def parses(text: str) -> bool:
    """Return whether a text is valid Python."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
