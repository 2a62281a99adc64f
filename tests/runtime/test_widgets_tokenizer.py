"""The tokenizers in the tab: tiktoken's ids and bytes, in three encodings."""

import json
import random

import pytest
from site_tools import DOCS, ROOT
from site_tools.tab.widgets import ENCODINGS, RANKS
from tests.runtime.node import node

from llmguide.tokenization.openai import load_encoding

MODULE = DOCS / "runtime" / "widgets" / "encodings.js"  # imports the vocabularies of docs/assets
EXAMPLES = [
    "Hello, world!",
    "The quick brown fox's 1,234,567 jumps; they'LL see.",
    "def f(x):\n    return {k: v ** 2 for k, v in x.items()}  # TODO\n\n\t\r\n",
    "Donaudampfschifffahrtsgesellschaft, naïve façade, Łódź",
    "γλώσσα, язык, ภาษา, भाषा, tiếng Việt",
    "自然言語処理は楽しい。자연어 처리, 自然语言处理",
    "שלום עולם! مرحبا بالعالم؟ \u200f\u202e",
    "👩‍👩‍👧‍👦👍🏽🇩🇪🤖 ☃️ 𐍈𐎠𐤀 e\u0301\u0323",
    "\u00a0\u2003\u0085\ufeff\u200b\u3000 ½²Ⅷ٣",
    "a" * 300,
    "    " * 20 + "x",
    "<|endoftext|> <|endofprompt|> <|fim_prefix|>",
    "",
]


def texts() -> list[str]:
    rng = random.Random(11)
    mixed = ["".join(rng.choice("".join(EXAMPLES)) for _ in range(rng.randrange(1, 60))) for _ in range(250)]
    return [*EXAMPLES, *mixed]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_ids_and_bytes_are_tiktokens(encoding: str) -> None:
    tiktoken = load_encoding(encoding)
    found = node(
        MODULE,
        """const tokenize = await m.load(given.encoding);
        return given.texts.map((text) => [tokenize(text, false), tokenize(text, true)])""",
        encoding=encoding,
        texts=texts(),
    )
    assert len(found) > 250
    for text, (ordinary, special) in zip(texts(), found, strict=True):
        for tokens, ids in (
            (ordinary, tiktoken.encode_ordinary(text)),
            (special, tiktoken.encode(text, allowed_special={"<|endoftext|>"}, disallowed_special=())),
        ):
            assert [token["id"] for token in tokens] == ids, text
            assert [bytes(token["bytes"]) for token in tokens] == tiktoken.decode_tokens_bytes(ids), text


def test_bundles_are_those_of_the_pinned_package() -> None:
    version = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["dependencies"]["gpt-tokenizer"]
    assert {path.parent.name for path in RANKS.values()} == {f"gpt-tokenizer-{version}"}
    assert f"gpt-tokenizer-{version}/" in MODULE.read_text(encoding="utf-8")
