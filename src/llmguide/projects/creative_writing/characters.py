"""Character sheets: who is in a story, and whether a passage keeps to it.

A sheet has a line for each character, such as ``Mara (she): a brave baker who wants to leave the village``.
The model gets it before the text. A passage is checked by counting words: does it use the character's pronoun
and no other, does it take up a word of the notes, and does it go on instead of repeating the story?

Training data are the model's own continuations of other stories that pass the checks (rejection sampling
fine-tuning), so they need no labels.

References: rejection sampling fine-tuning (Yuan et al. 2023, arXiv:2308.01825).

Leaves out: contradictions in other words, such as a brave baker who runs away, and whether a character
changes; both need a reader.
"""

import random
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmguide.projects.analysis.text_style import words

PRONOUNS = {
    "she": {"she", "her", "hers", "herself"},
    "he": {"he", "him", "his", "himself"},
    "they": {"they", "them", "their", "theirs", "themself", "themselves"},
}
LONGEST_SHEET = 2_000  # characters
STEM = 5  # letters by which a word of the notes is recognized
REPEATED = 5  # words in a row that a continuation must not repeat
IGNORED = {"wants", "with", "that", "from", "their", "them"}  # words of notes that say nothing
_LINE = re.compile(r"\s*(\w[\w' -]*?)\s*\((she|he|they)\)\s*:\s*(.+)")


class Character(NamedTuple):
    """A line of a character sheet.

    Attributes:
        name: Name, as the story uses it.
        pronoun: ``she``, ``he`` or ``they``.
        notes: Traits, occupation and goals, in words.
    """

    name: str
    pronoun: str
    notes: str

    def __str__(self) -> str:
        return f"{self.name} ({self.pronoun}): {self.notes}"


class Scene(NamedTuple):
    """A character and the opening of a story."""

    character: Character
    opening: str


def parse_sheet(text: str) -> list[Character]:
    """Read a character sheet; empty lines are left out.

    Raises:
        ValueError: A line does not have the form ``Name (she): notes``.

    >>> parse_sheet("Mara (she): a brave baker")
    [Character(name='Mara', pronoun='she', notes='a brave baker')]
    """
    characters = []
    for line in filter(str.strip, text.splitlines()):
        if not (read := _LINE.fullmatch(line)):
            raise ValueError(f"write each character as 'Name (she, he or they): notes', not {line.strip()!r}")
        characters.append(Character(read[1], read[2], read[3].strip()))
    return characters


def check(text: str, characters: Iterable[Character], before: str) -> dict[str, bool]:
    """Check a continuation against the characters.

    Args:
        text: Continuation of the story.
        characters: The sheet.
        before: The story up to the continuation.

    Returns:
        ``pronouns``: it has a character's pronoun, and no *he* or *she* that is no character's; ``notes``: it
        has a word of the notes, by its first letters; ``new``: it repeats no five words in a row of what was
        before, or of the sheet.

    >>> mara = Character("Mara", "she", "a brave baker who wants to leave the village")
    >>> check("She packed the bakery's bread.", [mara], "It was late. Mara stood up.")
    {'pronouns': True, 'notes': True, 'new': True}
    >>> check("It was late. Mara stood up, and he left.", [mara], "It was late. Mara stood up.")
    {'pronouns': False, 'notes': False, 'new': False}
    """
    found, characters = words(text), list(characters)
    own = set().union(*(PRONOUNS[character.pronoun] for character in characters))
    foreign = (PRONOUNS["she"] | PRONOUNS["he"]) - own
    notes = {word for character in characters for word in words(character.notes)} - IGNORED
    stems = {word[:STEM] for word in notes if len(word) >= STEM - 1}
    return {
        "pronouns": bool(own & set(found)) and not foreign & set(found),
        "notes": any(word[:STEM] in stems for word in found),
        "new": not any(_runs(found) & _runs(words(known)) for known in (before, *map(str, characters))),
    }


def _runs(found: Sequence[str]) -> set[tuple[str, ...]]:
    return set(zip(*(found[i:] for i in range(REPEATED)), strict=False))


def task(characters: Sequence[Character]) -> str:
    """Write the instruction to continue a story with its characters."""
    lines = "\n".join(map(str, characters))
    return (
        "You are a writer's assistant. Write the next two sentences of the story. Keep to the characters:\n"
        f"{lines}"
    )


class _Words(NamedTuple):
    names: str
    traits: str
    roles: str
    goals: tuple[str, ...]
    openings: tuple[str, ...]


_TRAIN = _Words(
    "Ana Bruno Clara Dario Elena Felix Greta Hugo Irene Jonas Karin Leo Marta Nils Olga Paul Rosa Simon",
    "proud shy greedy honest restless gentle clumsy jealous",
    "baker soldier nurse tailor pilot farmer lawyer painter",
    (
        "find a lost ring",
        "win the race",
        "leave the village",
        "pay back a debt",
        "learn to swim",
        "build a bridge",
        "forgive an old rival",
        "see the ocean",
    ),
    (
        "The rain had stopped an hour ago. {name} closed the door",
        "It was the first day of the fair. {name} looked around",
        "The train was late again. {name} sat down on the bench",
        "Nobody in the room said a word. {name} stood up",
        "The letter arrived on a Monday. {name} read it twice",
        "Far away a bell was ringing. {name} began to walk",
    ),
)
_HELD_OUT = _Words(
    "Adam Beate Carlo Doris Emil Flora Georg Helga Ivan Judith Klaus Lydia Marco Nora Oskar Petra Ralf Vera",
    "brave lazy stubborn curious cheerful careless patient bitter",
    "fisherman teacher carpenter doctor singer gardener sailor detective",
    (
        "find a missing brother",
        "sell the old house",
        "write a song",
        "escape from the island",
        "prove a theory",
        "open a restaurant",
        "climb the mountain",
        "keep a secret",
    ),
    (
        "The market was almost empty. {name} put down the basket",
        "Snow had fallen during the night. {name} opened the window",
        "The lamp on the table went out. {name} listened",
        "At noon the boat reached the harbor. {name} waited at the rail",
        "The dog would not stop barking. {name} crossed the yard",
        "Someone had moved the chairs. {name} took a deep breath",
    ),
)


def scenes(n: int, *, held_out: bool, seed: int) -> list[Scene]:
    """Combine names, pronouns, notes and openings at random; held-out scenes share no word list.

    A name does not tell the pronoun: each has either one half of the time.

    Args:
        n: Number of scenes.
        held_out: Whether the scenes are those for the evaluation.
        seed: Seed of the choices.
    """
    source, rng = _HELD_OUT if held_out else _TRAIN, random.Random(seed)
    found = []
    for i in range(n):
        name, pronoun = rng.choice(source.names.split()), ("she", "he")[i % 2]
        trait, role = rng.choice(source.traits.split()), rng.choice(source.roles.split())
        notes = f"a {trait} {role} who wants to {rng.choice(source.goals)}"
        opening = rng.choice(source.openings).format(name=name) + "."
        found.append(Scene(Character(name, pronoun, notes), opening))
    return found
