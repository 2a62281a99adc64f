"""Off-topic requests of the domain expert: other topics, and questions about other programming languages."""

from collections.abc import Iterator, Sequence
from itertools import product

from llmguide.data.splits import in_validation
from llmguide.projects.domain_expert.templates import LANGUAGES, NEW_OTHER, OTHER, OUTSIDE, Pair

ELSEWHERE = (  # phrased like questions about the library, but off-topic; the last two are held out
    "Which package of Java has {0}?",
    "Where in Ruby is {0}?",
    "What is the first parameter of {0} in Perl?",
    "Name the base of {0} in Swift.",
    "What is the kind of {0} in Pascal?",
    "Which package of Go has {0}?",
    "{0} has which base in Scala?",
    "Name the package of {0} in Fortran.",
    "Which parameter does {0} take first in Basic?",
    "Of which kind is {0} in Lisp?",
    "What is the base of {0} in Dart?",
    "{0} is in which package of Ada?",
    "Which package of Rust has {0}?",
    "What is the first parameter of {0} in Haskell?",
)
SUBJECTS = {
    "place": "Paris London Rome Vienna Cairo Tokyo Lima Oslo Delhi Quito Dublin Seoul Havana Madrid Kyiv",
    "food": "bread soup rice cake stew honey cheese salad pasta fish beans lentils porridge pie jam curry",
    "animal": "horse whale spider eagle goat salmon badger swan tiger lizard moth otter camel crow seal toad",
    "person": "Mozart Newton Homer Caesar Darwin Chopin Goethe Galileo Verdi Dante Gandhi Kepler",
    "game": "chess tennis golf rugby poker hockey judo cricket rowing darts",
    "thing": "ladder candle violin kettle pillow hammer bicycle mirror carpet umbrella",
    "plant": "oak rose tulip maple fern cactus birch clover ivy willow",
}
TOPICS = (
    ("place", "How far is {0}?"),
    ("place", "Who is the mayor of {0}?"),
    ("place", "Is it raining in {0}?"),
    ("food", "How do I cook {0}?"),
    ("food", "Is {0} good for me?"),
    ("food", "What goes with {0}?"),
    ("animal", "How old does a {0} get?"),
    ("animal", "What does a {0} eat?"),
)
MORE_TOPICS = (  # for fine-tuning only
    ("place", "Which language do they speak in {0}?"),
    ("place", "I want to live in {0}."),
    ("food", "What is the price of {0}?"),
    ("food", "Is there {0} in this?"),
    ("animal", "What is the weight of a {0}?"),
    ("animal", "Where does a {0} sleep?"),
    ("person", "When was {0} born?"),
    ("person", "Did {0} have children?"),
    ("person", "What is {0} known for?"),
    ("game", "How do I get better at {0}?"),
    ("game", "Who won at {0} last year?"),
    ("game", "What are the rules of {0}?"),
    ("thing", "What does a {0} cost?"),
    ("thing", "Can you repair my {0}?"),
    ("thing", "Name a good color for a {0}."),
    ("plant", "How often should I water a {0}?"),
    ("plant", "Does a {0} need sun?"),
    ("plant", "Can I grow a {0} in a pot?"),
)
NEW_TOPICS = (
    ("place", "Write a poem about {0}."),
    ("place", "When does the train to {0} leave?"),
    ("food", "Where do I buy {0}?"),
    ("food", "Who likes {0}?"),
    ("animal", "Tell me a joke about a {0}."),
    ("animal", "Can a {0} swim?"),
)


def off_topic(known: Sequence[str], *, test: bool) -> Iterator[Pair]:
    """Write off-topic requests, answered by a refusal.

    Args:
        known: Names of the library, for questions about other programming languages.
        test: Whether they are for the benchmark: seen topics with new subjects, new topics, other languages.
    """
    kinds = {OTHER: TOPICS, NEW_OTHER: NEW_TOPICS} if test else {OTHER: TOPICS + MORE_TOPICS}
    for kind, topics in kinds.items():
        for subject, wording in topics:
            for word in SUBJECTS[subject].split():
                if in_validation(f"subject {word}", 0.3) == test:
                    yield Pair(kind, "outside", word, wording.format(word), OUTSIDE)
    for wording, name in product(ELSEWHERE[-2:] if test else ELSEWHERE[:-2], known):
        yield Pair(LANGUAGES, "outside", name, wording.format(name), OUTSIDE)
