"""Answers to exercises of agents, as a reader would write them; the tests grade each."""

import json


def tool_calls(text, tools):
    def read(block):
        if "</tool_call>" not in block:
            return {"error": "incomplete"}
        try:
            call = json.loads(block.split("</tool_call>")[0])
            name, arguments = call["name"], call["arguments"]
            if isinstance(arguments, str):
                arguments = json.loads(arguments)
        except (ValueError, KeyError, TypeError):
            return {"error": "invalid"}
        if not isinstance(arguments, dict):
            return {"error": "invalid"}
        if name not in tools:
            return {"error": "unknown tool"}
        if any(key not in arguments for key in tools[name]):
            return {"error": "missing argument"}
        return {"name": name, "arguments": arguments}

    return [read(block) for block in text.split("<tool_call>")[1:]]


def fit_history(messages, budget):
    system = [message for message in messages if message["role"] == "system"]
    turns = []
    for message in messages[len(system) :]:
        if message["role"] == "user":
            turns.append([])
        turns[-1].append(message)
    left = budget - sum(message["tokens"] for message in system)
    kept = []
    for turn in reversed(turns):
        left -= sum(message["tokens"] for message in turn)
        if left < 0:
            break
        kept = turn + kept
    return system + kept if kept else None
