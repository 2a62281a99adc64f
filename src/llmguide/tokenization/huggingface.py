"""Convert a tokenizer to one of transformers, which other programs read; needs ``llmguide[hf]``.

tiktoken's format has a rank for each token and no list of merges. Each token of two or more bytes is the
merge of two tokens of lower rank: those into which the earlier merges take its bytes.
"""

import re
from typing import Any

from llmguide.extras import import_extra
from llmguide.tokenization.bpe import merge_piece
from llmguide.tokenization.tokenizer import Tokenizer

_POSSESSIVE = re.compile(r"(\\p\{\w+\}|\\.|\[[^\]]*\]|.)(\{\d+(?:,\d*)?\})\+")  # an item, {m,n} and +


def to_hf_tokenizer(tokenizer: Tokenizer, *, bos: str | None = None, eos: str | None = None) -> Any:
    """Convert a tokenizer to a fast tokenizer of transformers.

    Its ``save_pretrained(folder)`` writes what `transformers.AutoTokenizer`, vLLM and llama.cpp read.

    Args:
        tokenizer: Tokenizer to convert.
        bos: Special token to put before each text; None: none.
        eos: Special token that ends a text; also used for padding.

    Returns:
        A ``PreTrainedTokenizerFast`` that gives the same ids.

    Raises:
        ModuleNotFoundError: ``llmguide[hf]`` is not installed.
        ValueError: The tokenizer has no such special token, or two names for one id.

    >>> from llmguide import Tokenizer
    >>> tokenizer = Tokenizer.train("low lower lowest", 259, special_tokens=["<|endoftext|>"])
    >>> hf = to_hf_tokenizer(tokenizer, eos="<|endoftext|>")
    >>> hf.encode("lowest") == tokenizer.encode("lowest"), hf.decode(hf.encode("lowest"))
    (True, 'lowest')
    """
    tokenizers, transformers, slow = (
        import_extra(name, "hf", "a tokenizer of transformers")
        for name in ("tokenizers", "transformers", "transformers.convert_slow_tokenizer")
    )
    characters = slow.bytes_to_unicode()
    special = tokenizer.special_tokens
    if missing := {bos, eos} - {None} - special.keys():
        raise ValueError(f"the tokenizer has no special token {missing}; it has {sorted(special)}")
    if len(set(special.values())) < len(special):
        raise ValueError(f"two special tokens share an id, which transformers cannot have: {special}")

    def name(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    # In the regular expressions of the tokenizers library, a + after {m,n} repeats it.
    pattern = _POSSESSIVE.sub(r"(?>\1\2)", tokenizer.pattern)
    merges = [tuple(map(name, _merge(token, tokenizer.ranks))) for token in _merged(tokenizer.ranks)]
    vocabulary = {name(token): i for token, i in tokenizer.ranks.items()} | special
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges, ignore_merges=True))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(sorted(special, key=special.__getitem__))
    if bos is not None:
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, special[bos])]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        pad_token=eos,
        clean_up_tokenization_spaces=False,
    )


def _merged(ranks: dict[bytes, int]) -> list[bytes]:
    """Return the tokens that merges make, in the order of the merges."""
    return sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__)


def _merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """Return the two tokens whose merge a token is."""
    parts = {token[i:j] for i in range(len(token)) for j in range(i + 1, len(token) + 1)}
    earlier = {
        part: ranks[part] for part in parts & ranks.keys() if len(part) == 1 or ranks[part] < ranks[token]
    }
    pieces = merge_piece(token, earlier)
    if len(pieces) != 2:
        raise ValueError(f"the token {token!r} is no merge of two others, so it cannot be converted")
    of = {rank: part for part, rank in earlier.items()}
    return of[pieces[0]], of[pieces[1]]
