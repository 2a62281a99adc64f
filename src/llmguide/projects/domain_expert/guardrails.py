r"""Guardrails of the domain expert: checks before and after the model, each of which refuses with a reason.

| check | looks at | refuses |
| --- | --- | --- |
| harm | question | words of a request to harm people or their computers |
| advice | question | words of a legal, medical, financial or security decision of one's own |
| topic | question | another programming language, or nothing that a card could state |
| evidence | question | a name or description that is on no card |
| support | answer | words that a card of the question does not have, or no value of the card |

A card holds the facts about one name that the expert has read. Retrieval is exact: a card is found if its
name is in the question, or if runs of three or more words of the question cover 70% of its summary.

Leaves out: meaning. The first two checks are lists of words; other words for the same request pass them. The
last one accepts any words of the card, also those of another fact about the same name.
"""

import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from llmguide.data.cleaning.dedup import plain_words
from llmguide.projects.domain_expert.facts import Fact
from llmguide.projects.domain_expert.templates import OUTSIDE, UNKNOWN
from llmguide.projects.domain_expert.templates import answer as state
from llmguide.projects.retrieval_chatbot.support import SUPPORTED, covered

Check = Literal["harm", "advice", "topic", "evidence", "support", "model"]

REASONS: dict[Check, str] = {
    "harm": "I do not help to harm people or computers.",
    "advice": (
        "I do not advise on legal, medical, financial or security decisions; ask somebody who is qualified."
    ),
    "topic": (
        "That is not my field. I answer which package, kind, first parameter or base class a name of "
        "Python's standard library has, and which name a description belongs to."
    ),
    "evidence": "I have no card about that.",
    "support": "I withhold the model's answer, because no card supports it.",
}


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


HARM = _words(
    r"malware|virus(?:es)?|worm|trojan|ransomware|keylog\w*|spyware|botnet|backdoor|rootkit|phish\w*|"
    r"exploit\w*|hack\w*|ddos|denial of service|brute.?forc\w*|crack\w*|steal\w*|stolen|spy\w*|stalk\w*|"
    r"bypass\w*|hijack\w*|eavesdrop\w*|intercept\w*|impersonat\w*|launder\w*|weapons?|bombs?|poison\w*|"
    r"kill\w*|attack\w*|someone else's|without (?:\w+ ){0,2}(?:permission|consent|knowing|noticing)"
)
ADVICE = _words(
    r"should (?:i|we)|(?:il)?legal\w*|laws?|lawyer|lawsuit|sue|liab\w+|licen[sc]\w+|copyright\w*|gdpr|hipaa|"
    r"contract|compliant|compliance|doctor|diagnos\w*|symptoms?|dos(?:e|age)|medic\w+|treatment|patients?|"
    r"invest\w*|tax\w*|mortgage|loan|(?:safe|secure) enough|is it (?:safe|secure|ok|okay|allowed)|"
    r"my (?:company|clients?|employer|customers?|health)"
)
LANGUAGES = re.compile(  # case counts, since "go" and "basic" are words, too
    r"\b(?:in|of|for|from)\s+(?:Ada|Basic|C|C\+\+|C#|Clojure|COBOL|Dart|Elixir|Erlang|Fortran|Go|Haskell|Java|"
    r"JavaScript|Julia|Kotlin|Lisp|Lua|MATLAB|OCaml|Pascal|Perl|PHP|Prolog|R|Ruby|Rust|Scala|Scheme|Swift|"
    r"TypeScript)(?![\w+#])"
)
ASKS = _words(  # what a card states
    r"packages?|modules?|library|where|import|kind|type|sort|class|function|exception|parameters?|arguments?|"
    r"takes?|base|parent|inherits?|derives?|subclass|superclass|extends?"
)
COMMON = frozenset(  # words around a value
    plain_words(
        "A an and as at base by derives does first for from has have in is it its kind name of on package "
        "parameter takes that the this to with"
    )
)


class Refusal(NamedTuple):
    """A refusal.

    Attributes:
        check: Name of the check that refuses; "model" if the model itself abstains or refuses.
        reason: Sentence for the user.
    """

    check: Check
    reason: str


class Guardrails:
    """The checks around an expert.

    Args:
        known: Facts that the expert has read.

    >>> guard = Guardrails([Fact("package", "bisect_left", "bisect")])
    >>> guard.check_question("Which package has bisect_left?")
    >>> guard.check_question("Which package has left_bisect?").reason
    'I have no card about that.'
    >>> guard.check_answer("Which package has bisect_left?", "The package of bisect_left is bisect.")
    >>> guard.check_answer("Which package has bisect_left?", "The package of bisect_left is heapq.").check
    'support'
    """

    def __init__(self, known: Iterable[Fact]) -> None:
        self.cards: dict[str, list[Fact]] = {}
        for fact in known:
            self.cards.setdefault(fact.name, []).append(fact)
        self._summaries = {
            name: plain_words(fact.value)
            for name, facts in self.cards.items()
            for fact in facts
            if fact.relation == "summary"
        }

    def retrieve(self, question: str) -> list[str]:
        """Return the names whose cards are about a question."""
        named = [name for name in re.findall(r"\w+", question) if name in self.cards]
        return list(dict.fromkeys(named + self._described(question)))

    def check_question(self, question: str) -> Refusal | None:
        """Return why a question is refused, or None if the model may answer it."""
        if HARM.search(question):
            return _refuse("harm")
        if ADVICE.search(question):
            return _refuse("advice")
        if LANGUAGES.search(question) or not (ASKS.search(question) or self._described(question)):
            return _refuse("topic")
        return None if self.retrieve(question) else _refuse("evidence")

    def check_answer(self, question: str, answer: str) -> Refusal | None:
        """Return why an answer is withheld, or None if a card of the question supports it."""
        if answer in (UNKNOWN, OUTSIDE):
            return Refusal("model", answer)
        return None if self.supporting(question, answer) else _refuse("support")

    def supporting(self, question: str, answer: str) -> str | None:
        """Return the name whose card supports an answer: it states a value of the card, and nothing else."""
        asked, said = set(re.findall(r"\w+", question)), set(plain_words(answer))
        for name in self.retrieve(question):
            facts = self.cards[name]
            values = {word for f in facts if f.relation != "summary" for word in plain_words(f.value)}
            if name not in asked:  # the question describes it
                values.update(plain_words(name))
            if said & values and said <= {*values, *plain_words(name), *COMMON}:
                return name
        return None

    def card(self, name: str) -> str:
        """Write the facts about a name."""
        facts = self.cards[name]
        summaries = [fact.value for fact in facts if fact.relation == "summary"]
        return " ".join([*map(state, facts), *summaries])

    def reply(self, question: str, generate: Callable[[str], str]) -> str | Refusal:
        """Answer a question, or refuse it.

        Args:
            question: Question of the user.
            generate: Function that lets the model answer; it is not called if the question is refused.
        """
        if refusal := self.check_question(question):
            return refusal
        answer = generate(question)
        return self.check_answer(question, answer) or answer

    def _described(self, question: str) -> list[str]:
        asked = plain_words(question)
        return [name for name, words in self._summaries.items() if covered(words, asked) >= SUPPORTED]


def _refuse(check: Check) -> Refusal:
    return Refusal(check, REASONS[check])
