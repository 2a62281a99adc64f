"""Speed of the tokenizer against Hugging Face tokenizers, rustbpe, tiktoken and the naive algorithm.

Run ``python -m benchmarks.bpe``. Text: 10 MB of English, the docstrings of the standard library and of the
installed packages. ``--minbpe DIR`` takes a checkout of karpathy/minbpe as the naive peer instead of
`naive_merges` below.
"""

import argparse
import ast
import importlib
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import rustbpe
import tokenizers
from benchmarks.harness import Result, compare, print_header
from tokenizers import models, pre_tokenizers, trainers

from llmguide.tokenization.openai import load_encoding
from llmguide.tokenization.pretokenize import GPT4_PATTERN, Pretokenizer
from llmguide.tokenization.tokenizer import Tokenizer


def english_text(n_bytes: int) -> str:
    """Distinct docstrings of the standard library and the installed packages, ASCII: bytes are characters."""
    paths = sysconfig.get_paths()
    files = [path for root in ("stdlib", "purelib") for path in sorted(Path(paths[root]).rglob("*.py"))]
    texts: dict[str, None] = {}
    size = 0
    for file in files:
        try:
            tree = ast.parse(file.read_text(encoding="utf-8", errors="ignore"))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = (ast.get_docstring(node) or "").encode("ascii", "ignore").decode()
                if text not in texts:
                    texts[text] = None
                    size += len(text) + 2
        if size >= n_bytes:
            break
    return "\n\n".join(texts)[:n_bytes]


def hf_train(text: str, vocab_size: int) -> tokenizers.Tokenizer:
    """A byte-level BPE of Hugging Face with GPT-2's split, done in its fastest way: inside `ByteLevel`."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def rustbpe_train(text: str, vocab_size: int) -> dict[bytes, int]:
    """The ranks that rustbpe learns."""
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator([text], vocab_size, pattern=GPT4_PATTERN)
    return {bytes(token): i for token, i in tokenizer.get_mergeable_ranks()}


def naive_merges(text: str, n_merges: int) -> list[tuple[int, int]]:
    """The textbook algorithm on the whole text: count every pair of every piece again before each merge."""
    pieces = [list(piece.encode()) for piece in Pretokenizer(GPT4_PATTERN)(text)]
    merges = []
    for new_id in range(256, 256 + n_merges):
        counts: Counter[tuple[int, int]] = Counter()
        for piece in pieces:
            counts.update(pairwise(piece))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for k, piece in enumerate(pieces):
            merged = []
            i = 0
            while i < len(piece):
                if i + 1 < len(piece) and (piece[i], piece[i + 1]) == best:
                    merged.append(new_id)
                    i += 2
                else:
                    merged.append(piece[i])
                    i += 1
            pieces[k] = merged
    return merges


def naive_peer(minbpe: str | None, text: str, n_merges: int) -> tuple[str, Callable[[], object]]:
    """The naive trainer and its name: minbpe where a checkout is given."""
    if minbpe is None:
        return "the naive algorithm", lambda: naive_merges(text, n_merges)
    sys.path.insert(0, minbpe)
    trainer = importlib.import_module("minbpe").RegexTokenizer
    return "minbpe", lambda: trainer(GPT4_PATTERN).train(text, 256 + n_merges)


def benchmark_training(text: str, minbpe: str | None) -> list[Result]:
    """Training: merges equal to rustbpe's and to the naive algorithm's are asserted first."""
    small = text[:100_000]
    ours = Tokenizer.train(small, 256 + 500, pattern=GPT4_PATTERN).ranks
    tokens = [bytes([b]) for b in range(256)]
    for a, b in naive_merges(small, 500):
        tokens.append(tokens[a] + tokens[b])
    assert list(ours) == tokens
    assert Tokenizer.train(text, 10_256, pattern=GPT4_PATTERN).ranks == rustbpe_train(text, 10_256)
    name, naive = naive_peer(minbpe, small, 500)
    return [
        compare(
            "train 10 MB, 10,000 merges / HF tokenizers",
            lambda: Tokenizer.train(text, 10_256),
            lambda: hf_train(text, 10_256),
            pairs=5,
            target=0.55,
        ),
        compare(
            "train 10 MB, 10,000 merges / rustbpe",
            lambda: Tokenizer.train(text, 10_256, pattern=GPT4_PATTERN),
            lambda: rustbpe_train(text, 10_256),
            pairs=5,
        ),
        compare(
            f"train 100 kB, 500 merges / {name}",
            lambda: Tokenizer.train(small, 256 + 500, pattern=GPT4_PATTERN),
            naive,
            pairs=3,  # the peer needs about 10 s a run
            target=150,
        ),
    ]


def benchmark_encoding(text: str) -> list[Result]:
    """Encoding one string: ids equal to tiktoken's are asserted first."""
    results = []
    for name in ("gpt2", "cl100k_base", "o200k_base"):
        encoding = load_encoding(name)
        ours = Tokenizer.from_tiktoken(encoding)
        assert ours.encode(text) == encoding.encode_ordinary(text)

        def cold(ours: Tokenizer = ours) -> None:
            ours._ids_of.clear()
            ours.encode(text)

        def warm(ours: Tokenizer = ours) -> None:
            ours.encode(text)

        def peer(encoding=encoding) -> None:
            encoding.encode_ordinary(text)

        results.append(compare(f"encode 10 MB, {name}, first sight / tiktoken", cold, peer, target=0.35))
        results.append(compare(f"encode 10 MB, {name}, words seen / tiktoken", warm, peer, target=0.7))

    hf = hf_train(text, 10_256)
    ours = Tokenizer.train(text, 10_256)

    def cold() -> None:
        ours._ids_of.clear()
        ours.encode(text)

    results.append(
        compare("encode 10 MB, first sight / HF tokenizers", cold, lambda: hf.encode(text), pairs=5, target=2)
    )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minbpe", metavar="DIR", help="checkout of karpathy/minbpe")
    arguments = parser.parse_args()
    text = english_text(10_000_000)
    print_header("tokenizers", "rustbpe", "tiktoken")
    results = benchmark_training(text, arguments.minbpe) + benchmark_encoding(text)
    sys.exit(0 if all(result.met for result in results) else "a target was missed")


if __name__ == "__main__":
    main()
