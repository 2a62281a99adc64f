"""A converted tokenizer gives the same ids in transformers, saved and opened again too."""

import pydoc_data.topics

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.tokenization.huggingface import to_hf_tokenizer
from llmguide.tokenization.openai import load_encoding
from llmguide.tokenization.pretokenize import GPT4_PATTERN
from llmguide.tokenization.tokenizer import GPT2_PATTERN, Tokenizer

END = "<|endoftext|>"
TEXTS = list(pydoc_data.topics.topics.values())[:20]


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt2", "cl100k_base"])
def test_published_vocabularies(name):
    ours = Tokenizer.from_tiktoken(load_encoding(name))
    theirs = to_hf_tokenizer(ours, eos=END)
    for text in [*TEXTS, "DON'T  12345\r\n\n é\N{GRINNING FACE} 中文\0 "]:
        assert_parity(
            ours.encode(text),
            theirs.encode(text),
            of="llmguide.tokenization.huggingface.to_hf_tokenizer",
            against="transformers.PreTrainedTokenizerFast",
            atol=0,
        )


@pytest.fixture(scope="module", params=[GPT2_PATTERN, GPT4_PATTERN])
def pair(request, tmp_path_factory):
    ours = Tokenizer.train(" ".join(TEXTS), 600, pattern=request.param, special_tokens=[END, "<|x|>"])
    folder = tmp_path_factory.mktemp("tokenizer")
    to_hf_tokenizer(ours, bos=END, eos="<|x|>").save_pretrained(folder)
    return ours, transformers.AutoTokenizer.from_pretrained(folder)


@given(text=st.text())
@settings(max_examples=200, deadline=None)
def test_any_text(pair, text):
    ours, theirs = pair
    ids = theirs.encode(text)
    assert ids == [ours.special_tokens[END], *ours.encode(text, allowed_special="all")]
    assert theirs.decode(ids[1:]) == text


def test_special_tokens(pair):
    ours, theirs = pair
    assert (theirs.bos_token_id, theirs.eos_token_id) == (
        ours.special_tokens[END],
        ours.special_tokens["<|x|>"],
    )
    assert theirs.encode("a<|x|>b") == [theirs.bos_token_id, *ours.encode("a<|x|>b", allowed_special="all")]


def test_what_cannot_be_converted():
    with pytest.raises(ValueError, match="has no special token"):
        to_hf_tokenizer(Tokenizer.train("a", 256), eos=END)
    with pytest.raises(ValueError, match="share an id"):
        to_hf_tokenizer(Tokenizer({bytes([b]): b for b in range(256)}, special_tokens={"a1": 256, "a2": 256}))
    orphan = {bytes([b]): b for b in range(256)} | {b"abcd": 256}
    with pytest.raises(ValueError, match="no merge of two others"):
        to_hf_tokenizer(Tokenizer(orphan))
