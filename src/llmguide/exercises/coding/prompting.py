"""Exercises of a conversation about code: the code of a response, and a request to mend it."""

import re
from collections.abc import Sequence

from llmguide.evaluation.extraction import extract_code
from llmguide.exercises.definition import Exercise, Mistake

Message = dict[str, str]


_ANSWER = """\
The idea is a set:
```python
def f(x):
    return {x}
```
Simpler, without it:
```python
def f(x):
    return x
```
Call it so:
```
f(1)
```
That is all.
"""


def _blocks(answer: str) -> list[str]:
    return re.findall(r"^```[^\n]*\n(.*?)^```", answer, flags=re.DOTALL | re.MULTILINE)


def refine(messages: Sequence[Message], answer: str, request: str) -> list[Message]:
    """Return the messages of the next turn: the earlier ones, the model's answer, and the new request.

    >>> [message["role"] for message in refine([{"role": "user", "content": "Hello"}], "Hi", "Go on")]
    ['user', 'assistant', 'user']
    """
    return [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": request}]


EXERCISES = (
    Exercise(
        "extract-code",
        "extract_code(answer, name): the last code block of an answer that defines the function `name`, "
        "without its fences, or None. Blocks begin and end with lines of three backticks.",
        extract_code,
        lambda: [(_ANSWER, "f"), (_ANSWER, "g"), ("I would use a loop.", "f")],
        (
            Mistake(
                "first block",
                "the first block that defines the function is taken",
                "Models correct themselves: the last one is the solution.",
                lambda answer, name: next((code for code in _blocks(answer) if f"def {name}(" in code), None),
            ),
            Mistake(
                "last block whatever it holds",
                "the last block is taken, even if it only calls the function",
                "Look for def and the name in each block.",
                lambda answer, name: _blocks(answer)[-1] if _blocks(answer) else None,
            ),
            Mistake(
                "all blocks",
                "all blocks are joined",
                "That would run the examples too, and a version that was withdrawn.",
                lambda answer, name: "".join(_blocks(answer)) if f"def {name}(" in answer else None,
            ),
            Mistake(
                "fences kept",
                "the lines of backticks are part of the code",
                "They are not Python.",
                lambda answer, name: (
                    None if (code := extract_code(answer, name)) is None else f"```python\n{code}```\n"
                ),
            ),
            Mistake(
                "final line break lost",
                "the line break at the end of the code is missing",
                "The last line of the block ends with a line break as well. Return the lines as they are.",
                lambda answer, name: (code := extract_code(answer, name)) and code.removesuffix("\n"),
            ),
        ),
        (
            "Find all blocks first, then choose among them.",
            "A regular expression with re.DOTALL finds the blocks.",
            "Keep those with a line that begins with def and the name, then take the last.",
        ),
        level="medium",
        minutes=10,
    ),
    Exercise(
        "refine",
        "refine(messages, answer, request): the messages of the next turn, from those of the last one, the "
        "model's answer and your new request. A message is a dict with 'role' (user or assistant) and "
        "'content'.",
        refine,
        lambda: [
            ([{"role": "user", "content": "Write f."}], "def f(): ...", "Shorter."),
            (
                [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}],
                "Hi.",
                "Go on.",
            ),
        ],
        (
            Mistake(
                "answer left out",
                "the model's answer is missing",
                "The model remembers nothing by itself: what it should change must be in the context.",
                lambda messages, answer, request: [*messages, {"role": "user", "content": request}],
            ),
            Mistake(
                "history left out",
                "the earlier messages are missing",
                "Without the first request the model does not know what was asked.",
                lambda messages, answer, request: refine([], answer, request),
            ),
            Mistake(
                "roles exchanged",
                "the answer is the user's and the request the assistant's",
                "The model's messages have the role assistant.",
                lambda messages, answer, request: [
                    *messages,
                    {"role": "user", "content": answer},
                    {"role": "assistant", "content": request},
                ],
            ),
            Mistake(
                "request before the answer",
                "the request comes before the answer that it is about",
                "Keep the order of the conversation.",
                lambda messages, answer, request: [
                    *messages,
                    {"role": "user", "content": request},
                    {"role": "assistant", "content": answer},
                ],
            ),
        ),
        (
            "What does the model have to read to know what to change?",
            "A new list: old messages, answer, request.",
            "The answer has the role assistant, the request the role user.",
        ),
        level="warm-up",
        minutes=5,
    ),
)
