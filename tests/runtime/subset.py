"""Runs snippets with PyTorch and with the in-page subset, and describes what came out in plain data.

The two packages have one name, so the subset runs in a process of its own: this file is also its program.
A snippet is Python code whose last line is an expression. What is described: type, shape, element type,
values, printed form and gradient name of every tensor in the result, the gradients of the leaves `x`, `y`
and `z`, and theirs; or the error's type and message.
"""

import ast
import contextlib
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME = REPOSITORY / "runtime"


def run_in_subset(snippets, *, second=False):
    """Describe the results of snippets under the subset."""
    places = [
        RUNTIME,
        REPOSITORY / "src",
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps({"snippets": list(snippets), "second": second}),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def describe_all(snippets, *, second=False):
    """Describe the results of snippets under the torch of this process."""
    return [_described(snippet, second) for snippet in snippets]


def _described(snippet, second):
    import torch  # noqa: PLC0415  # which one depends on the process

    names = {"torch": torch, "math": math, "T": torch.tensor, "leaf": _leaf_maker(torch)}
    body = ast.parse(snippet)
    last = ast.Expression(body.body.pop().value)
    torch.manual_seed(0)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(body, "<snippet>", "exec"), names)
            result = eval(compile(last, "<snippet>", "eval"), names)
        found = {"result": [_plain(result, torch), printed.getvalue()]}
        leaves = [
            names[name]
            for name in ("x", "y", "z")
            if isinstance(names.get(name), torch.Tensor) and names[name].requires_grad and names[name].is_leaf
        ]
        if leaves and not any(leaf.grad is not None for leaf in leaves):
            found["gradients"] = _gradients(result, leaves, torch, second)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    return found


def _leaf_maker(torch):
    def leaf(*shape, shift=0.0, dtype=torch.float32):
        """Different multiples of 1/32 between -1 and 1, plus `shift`; none is a whole number."""
        n = math.prod(shape)
        values = [((37 * i + 11) % 64) / 32 - 1 + 1 / 64 + shift for i in range(n)]
        return torch.tensor(values, dtype=dtype).reshape(shape).clone().requires_grad_()

    return leaf


def _plain(value, torch):
    if isinstance(value, torch.Tensor):
        return {
            "tensor": value.detach().double().tolist()
            if value.dtype.is_floating_point
            else _numbers(value, torch),
            "shape": list(value.shape),
            "stride": list(value.stride()) if value.numel() else [],
            "dtype": str(value.dtype),
            "requires_grad": value.requires_grad,
            "printed": str(value),
        }
    if isinstance(value, tuple | list):
        return {"kind": type(value).__name__, "items": [_plain(each, torch) for each in value]}
    if isinstance(value, dict):
        return {"dict": {str(key): _plain(each, torch) for key, each in value.items()}}
    if isinstance(value, bool | int | float | str | None):
        return value
    return repr(value)


def _numbers(value, torch):
    value = value.detach()
    return torch.view_as_real(value).tolist() if value.is_complex() else value.tolist()


def _floating(value, torch):
    if isinstance(value, torch.Tensor):
        return [value] if value.requires_grad else []
    return [t for each in value for t in _floating(each, torch)] if isinstance(value, tuple | list) else []


def _gradients(result, leaves, torch, second):
    """Gradients of a sum of the results, each element weighted otherwise; and again of those."""
    outputs = _floating(result, torch)
    if not outputs:
        return []
    first = _weighted_gradients(outputs, leaves, torch, create_graph=second)
    found = [[None if g is None else _plain(g.detach(), torch) for g in first]]
    if second:
        again = [g for g in first if g is not None and g.requires_grad]
        if again:
            found.append(
                [
                    None if g is None else _plain(g.detach(), torch)
                    for g in _weighted_gradients(again, leaves, torch)
                ]
            )
    return found


def _weighted_gradients(outputs, leaves, torch, create_graph=False):
    total = 0
    for output in outputs:
        weights = torch.arange(1, output.numel() + 1, dtype=torch.float64).reshape(output.shape).cos()
        total = (
            total
            + ((output * output.conj()).real * weights if output.is_complex() else output * weights).sum()
        )
    return torch.autograd.grad(total, leaves, create_graph=create_graph, allow_unused=True)


def differences(ours, theirs, *, printed=True, messages=False, tolerance=1e-6):
    """List in words how two descriptions differ."""
    if "error" in theirs or "error" in ours:
        if ours.get("error") != theirs.get("error"):
            return [f"ours {_short(ours)}; torch {_short(theirs)}"]
        if messages and ours["message"] != theirs["message"]:
            return [f"ours says {ours['message']!r}; torch {theirs['message']!r}"]
        return []
    found = _compared(ours["result"][0], theirs["result"][0], "result", printed, tolerance)
    if ours["result"][1] != theirs["result"][1]:
        found.append(f"ours prints {ours['result'][1]!r}; torch {theirs['result'][1]!r}")
    for i, others in enumerate(theirs.get("gradients", [])):
        mine = ours["gradients"][i] if i < len(ours["gradients"]) else [None] * len(others)
        for j, (a, b) in enumerate(zip(mine, others, strict=True)):
            # no gradient and zeros are the same
            if None not in (a, b):
                found += _compared(a, b, f"gradient {i + 1} of leaf {j}", printed=False, tolerance=tolerance)
            elif a != b and any(_flat((a or b)["tensor"])):
                found.append(
                    f"gradient {i + 1} of leaf {j}: ours {a and a['tensor']}; torch {b and b['tensor']}"
                )
    return found


def _short(description):
    return f"{description['error']}: {description['message']}" if "error" in description else "gives a result"


def _flat(values):
    return [v for each in values for v in _flat(each)] if isinstance(values, list) else [values]


def _compared(a, b, where, printed, tolerance):
    if not (isinstance(a, dict) and isinstance(b, dict)):
        close = isinstance(a, float) and isinstance(b, float) and _close(a, b, tolerance)
        return [] if a == b or close else [f"{where}: ours {a!r}; torch {b!r}"]
    if a.keys() != b.keys():
        return [f"{where}: ours {a}; torch {b}"]
    found = [
        f"{where}: {key} ours {a.get(key)}; torch {b.get(key)}"
        for key in ("kind", "shape", "dtype", "requires_grad")
        if a.get(key) != b.get(key)
    ]
    if "items" in a:
        if len(a["items"]) != len(b["items"]):
            return [f"{where}: ours has {len(a['items'])} items; torch {len(b['items'])}"]
        for i, (mine, other) in enumerate(zip(a["items"], b["items"], strict=True)):
            found += _compared(mine, other, f"{where}[{i}]", printed, tolerance)
    elif "dict" in a:
        for key in a["dict"]:
            found += _compared(a["dict"][key], b["dict"].get(key), f"{where}[{key}]", printed, tolerance)
    elif not found:
        mine, other = _flat(a["tensor"]), _flat(b["tensor"])
        if not all(_close(m, o, tolerance, signed=printed) for m, o in zip(mine, other, strict=True)):
            found.append(f"{where}: ours {a['tensor']}; torch {b['tensor']}")
        if printed and a["printed"] != b["printed"]:
            found.append(f"{where}: ours prints\n{a['printed']}\ntorch prints\n{b['printed']}")
    return found


def _close(a, b, tolerance, signed=True):
    if not (isinstance(a, float) and isinstance(b, float)):
        return a == b
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if signed and a == b == 0:
        return math.copysign(1, a) == math.copysign(1, b)
    return a == b or abs(a - b) <= tolerance * (1 + abs(b))


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(describe_all(asked["snippets"], second=asked["second"]), sys.stdout)
