"""The tokenizer and the token files of a pre-training run, created once and reused when the run resumes."""

import sys
from collections.abc import Iterable, Iterator
from itertools import chain, takewhile
from pathlib import Path
from time import perf_counter

from llmguide.data.corpora import Corpus
from llmguide.data.documents import Document
from llmguide.data.splits import Split
from llmguide.data.tokens.token_files import END_OF_TEXT, write_shards
from llmguide.runs.folder import say
from llmguide.tokenization.tokenizer import Tokenizer

TOKENIZER_CHARACTERS = 20_000_000  # characters that train the tokenizer; more would change few merges
HELD_OUT_BYTES = 1_000_000  # characters evaluated at the end; longer validation text is truncated


def prepare(
    text: Corpus,
    output: Path,
    *,
    tokenizer: Tokenizer | None,
    vocab_size: int,
    validation: float,
    workers: int,
) -> None:
    """Train or save the tokenizer, and tokenize both sides of the corpus, unless an earlier call has."""
    path = output / "tokenizer.json"
    if not path.exists():
        began = perf_counter()
        documents = at_most(text.part("train", validation=validation), TOKENIZER_CHARACTERS)
        first = next(documents, None)
        if first is None:
            raise ValueError(f"{text.name} has no text to train on")
        if next(iter(text.part("validation", validation=validation)), None) is None:
            raise ValueError(
                f"{text.name}: no document is held out; raise --validation, or give "
                "more text (a text file counts as one document for each of its passages)"
            )
        if tokenizer is None:
            texts = (document.text for document in chain([first], documents))
            tokenizer = Tokenizer.train(texts, vocab_size, special_tokens=[END_OF_TEXT])
            say(f"tokenizer: {tokenizer.vocab_size} ids, trained in {perf_counter() - began:.0f} s")
        tokenizer.save(path)
    tokenizer = Tokenizer.load(path)
    limits: dict[Split, int] = {"train": sys.maxsize, "validation": HELD_OUT_BYTES}
    for side, most in limits.items():
        documents = at_most(text.part(side, validation=validation), most)
        try:
            write_shards(documents, tokenizer, output / "tokens" / side, workers=workers)
        except ValueError as error:
            raise ValueError(f"the {side} side of {text.name}: {error}") from error


def at_most(documents: Iterable[Document], characters: int) -> Iterator[Document]:
    """Yield documents up to about this many characters, at least one."""
    total = 0

    def fits(document: Document) -> bool:
        nonlocal total
        total += len(document.text)
        return total <= characters or total == len(document.text)

    return takewhile(fits, documents)
