"""A tokenizer whose tokens are characters."""

from collections.abc import Iterable


class Characters:
    """A tokenizer whose tokens are characters; id 0 starts a text, id 1 is any unknown character.

    >>> tokenizer = Characters("ab")
    >>> tokenizer.encode("abba!"), tokenizer.decode([2, 3, 1])
    ([2, 3, 3, 2, 1], 'ab\ufffd')
    """

    beginning, unknown = 0, 1

    def __init__(self, characters: Iterable[str]):
        self.characters = ["", "\N{REPLACEMENT CHARACTER}", *sorted(set(characters))]
        self._ids = {character: i for i, character in enumerate(self.characters) if i > self.unknown}

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Encode a text, one token id for each character."""
        return [self._ids.get(character, self.unknown) for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """Decode token ids into a text."""
        return "".join(self.characters[i] for i in ids)
