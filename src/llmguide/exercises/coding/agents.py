"""Exercises on the program around a model: read its tool calls, and keep its context in a budget."""

import json
import re
from functools import partial
from typing import Any

from llmguide.exercises.definition import Arguments, Exercise, Mistake

# ---- tool calls --------------------------------------------------------------------------------------------

OPEN, CLOSE = "<tool_call>", "</tool_call>"
Call = dict[str, Any]


def tool_calls(
    text: str,
    tools: dict[str, list[str]],
    *,
    unclosed: bool = True,
    known: bool = True,
    required: bool = True,
    decoded: bool = True,
    first_only: bool = False,
) -> list[Call]:
    """Parse the tool calls of a completion, with switches for the mistakes."""
    found = []
    for block in text.split(OPEN)[1:]:
        if CLOSE not in block:
            if unclosed:
                found.append({"error": "incomplete"})
            continue
        found.append(_one_call(block.split(CLOSE)[0], tools, known, required, decoded))
    return found[:1] if first_only else found


def _one_call(block: str, tools: dict[str, list[str]], known: bool, required: bool, decoded: bool) -> Call:
    try:
        call = json.loads(block)
        name, arguments = call["name"], call["arguments"]
        if decoded and isinstance(arguments, str):
            arguments = json.loads(arguments)
    except (ValueError, KeyError, TypeError):
        return {"error": "invalid"}
    if not isinstance(arguments, dict if decoded else dict | str):
        return {"error": "invalid"}
    if known and name not in tools:
        return {"error": "unknown tool"}
    if required and any(key not in arguments for key in tools.get(name, [])):
        return {"error": "missing argument"}
    return {"name": name, "arguments": arguments}


def _greedy_block(text: str, tools: dict[str, list[str]]) -> list[Call]:
    """Read from the first opening tag to the last closing tag."""
    found = re.findall(f"{OPEN}(.*){CLOSE}", text, re.DOTALL)
    calls = [_one_call(block, tools, True, True, True) for block in found]
    return calls + [{"error": "incomplete"}] * (text.rfind(OPEN) > text.rfind(CLOSE))


def _call(name: str, arguments: str) -> str:
    return f'{OPEN}\n{{"name": "{name}", "arguments": {arguments}}}\n{CLOSE}\n'


def _call_probes() -> list[Arguments]:
    tools = {"search": ["query"], "read_file": ["path", "line"], "now": []}
    return [
        ("I will look it up.\n" + _call("search", '{"query": "a < b", "limit": 3}'), tools),
        (_call("now", "{}") + _call("read_file", '{"path": "a.py", "line": 2}') + "Done?", tools),
        (_call("search", '"{\\"query\\": \\"x\\"}"'), tools),
        (_call("delete", "{}") + _call("read_file", '{"path": "a.py"}'), tools),
        (_call("search", "{'query': 1}") + _call("now", "{}")[:-14], tools),
        (f'{OPEN}{{"name": "now"}}{CLOSE}{OPEN}[1]{CLOSE}' + _call("now", "[1]"), tools),
        ("No tool is needed.", tools),
    ]


# ---- a budget of tokens ------------------------------------------------------------------------------------

Message = dict[str, Any]


def fit_history(
    messages: list[Message],
    budget: int,
    *,
    whole_turns: bool = True,
    system: bool = True,
    counted: bool = True,
    gaps: bool = False,
    newest: bool = True,
    strictly: bool = False,
) -> list[Message] | None:
    """Keep the newest turns of a conversation, with switches for the mistakes."""
    first = [message for message in messages if message["role"] == "system"]
    turns: list[list[Message]] = []
    for message in messages:
        if message["role"] == "user" or (not whole_turns and message["role"] != "system"):
            turns.append([])
        if message["role"] != "system":
            turns[-1].append(message)
    left = budget - sum(message["tokens"] for message in first if counted) - strictly
    kept: list[list[Message]] = []
    for turn in reversed(turns) if newest else turns:
        size = sum(message["tokens"] for message in turn)
        if size > left:
            if gaps:
                continue
            break
        left -= size
        kept = [turn, *kept] if newest else [*kept, turn]
    if not kept or (gaps and kept[-1] is not turns[-1]):
        return None
    return (first if system else []) + [message for turn in kept for message in turn]


def _history_probes() -> list[Arguments]:
    sizes = "system 10, user 5, assistant 20, user 8, assistant 6, tool 30, assistant 7, user 4, assistant 9"
    messages = [{"role": role, "tokens": int(tokens)} for role, tokens in map(str.split, sizes.split(", "))]
    return [(messages, budget) for budget in (99, 98, 74, 73, 30, 23, 22, 49)] + [(messages[1:4], 12)]


EXERCISES = (
    Exercise(
        "tool-calls",
        "tool_calls(text, tools) reads the tool calls in a completion. `tools` is a dict from the name of "
        "each tool to the list of the arguments that it requires. A call is JSON between <tool_call> and "
        "</tool_call>: an object with 'name', a string, and 'arguments', an object, which some models write "
        "as a string that contains the JSON of the object. Text outside of the tags is ignored, and the tags "
        "never occur within a call. Return a list with a dict for each <tool_call>, in order: {'name': ..., "
        "'arguments': ...} with the arguments as a dict, or {'error': ...} with the first of these that "
        "applies. 'incomplete': the closing tag is missing, because the completion was cut off (only the "
        "last call can be). 'invalid': it is no JSON, or not an object with these two entries. 'unknown "
        "tool'. 'missing argument': a required one is not there; others may be there.",
        tool_calls,
        _call_probes,
        (
            Mistake(
                "first call only",
                "only the first call is returned",
                "A model can ask for several tools at once, and waits for all the results.",
                partial(tool_calls, first_only=True),
            ),
            Mistake(
                "from the first tag to the last",
                "two calls are read as one, which is no valid JSON",
                "A regular expression with .* matches as much as it can. Use .*? or str.find.",
                _greedy_block,
            ),
            Mistake(
                "incomplete call ignored",
                "a call that was cut off is left out",
                "The model waits for a result. Tell it that the call was incomplete.",
                partial(tool_calls, unclosed=False),
            ),
            Mistake(
                "arguments left as a string",
                "arguments that are a string of JSON are not parsed",
                "If `arguments` is a string, parse it with json.loads as well.",
                partial(tool_calls, decoded=False),
            ),
            Mistake(
                "unknown tools accepted",
                "a call of a tool that does not exist is returned",
                "Models make up tools. Look the name up before anything is executed.",
                partial(tool_calls, known=False),
            ),
            Mistake(
                "required arguments not checked",
                "a call without a required argument is returned",
                "Compare the names of the arguments with the list in `tools`.",
                partial(tool_calls, required=False),
            ),
        ),
        (
            "text.split('<tool_call>')[1:] has one part for each call. What is in a part that is complete?",
            "json.loads raises json.JSONDecodeError, which is a ValueError. A missing key, and JSON that is "
            "no object, need the answer 'invalid' as well.",
            "Check in this order: closing tag, JSON and its form, name, required arguments. If 'arguments' "
            "is a string, parse it in the same try block.",
        ),
        level="medium",
        minutes=25,
        after="Each error goes back to the model as the result of its call, so that it can correct itself. "
        "An exception in the program around it would end the conversation.",
    ),
    Exercise(
        "fit-history",
        "fit_history(messages, budget) shortens a conversation so that it fits into `budget` tokens. A "
        "message is a dict with 'role' ('system', 'user', 'assistant' or 'tool') and 'tokens', its size. "
        "There may be a system message; it comes first and always stays. The rest are turns: a user message "
        "and everything up to the next user message. A turn is kept or dropped as a whole, because the "
        "result of a tool without its call, or an answer without its question, confuses a model. Keep as "
        "many turns as fit, counted from the end without a gap, and return their messages in order, after "
        "the system message. Return None if not even the last turn fits.",
        fit_history,
        _history_probes,
        (
            Mistake(
                "turns split",
                "single messages are dropped, wherever a turn begins",
                "Group the messages into turns first.",
                partial(fit_history, whole_turns=False),
            ),
            Mistake(
                "system message dropped",
                "the system message is not in the result",
                "It holds the rules for the whole conversation.",
                partial(fit_history, system=False),
            ),
            Mistake(
                "system message not counted",
                "the system message does not count toward the budget",
                "Its tokens take up room, too. Subtract them first.",
                partial(fit_history, counted=False),
            ),
            Mistake(
                "gaps",
                "a turn that is too large is skipped, and an older one is kept",
                "Stop at the first turn that does not fit.",
                partial(fit_history, gaps=True),
            ),
            Mistake(
                "oldest turns kept",
                "the turns are counted from the start",
                "The latest turns matter most. Go through them from the end.",
                partial(fit_history, newest=False),
            ),
            Mistake(
                "exactly full does not fit",
                "the total has to be smaller than the budget",
                "A conversation of as many tokens as the budget fits.",
                partial(fit_history, strictly=True),
            ),
        ),
        (
            "Two steps: group the messages into turns, then choose turns from the end.",
            "A user message opens a new turn; any other message after the system message goes into the last "
            "turn.",
            "Start with the budget minus the system message. Go through the turns in reverse, and stop at "
            "the first one that does not fit.",
        ),
        level="medium",
        minutes=20,
        after="Dropping old turns also changes the start of the prompt, so the cached keys and values of the "
        "rest are lost. Agents therefore shorten rarely and by a lot, or replace old turns with a summary.",
    ),
)
