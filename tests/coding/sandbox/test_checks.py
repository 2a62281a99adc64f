"""Checks: no exception of a solution ends one early and lets it pass, in a box or in a tab."""

import sys

import pytest

from llmguide.coding.sandbox.judging import judge
from llmguide.coding.sandbox.verdicts import CheckTests


@pytest.fixture
def tab(monkeypatch):
    """A place where the judge needs no processes, and is fast; the part that runs checks is the same."""
    monkeypatch.setattr(sys, "_emscripten_info", (), raising=False)


SWALLOWING = {
    "zip": "for got, want in zip(map(candidate, [1, 2]), [1, 2]): assert got == want",
    "all": "assert all(map(candidate, [1, 2]))",
    "list": "got = list(map(candidate, [1, 2]))\nassert got in ([], [1, 2])",
    "next": "got = next(map(candidate, [1]), 1)\nassert got == 1",
    "iterator": (
        "class All:\n    def __iter__(self): return self\n    def __next__(self): return candidate(1)\n"
        "for got in All(): assert got == 1"
    ),
    "call until": "for got in iter(lambda: candidate(1), 2): assert got == 1",
    "items": (
        "class All:\n    def __getitem__(self, i):\n        if i > 2: raise LookupError\n"
        "        return candidate(i)\n"
        "for got in All(): assert got == 1"
    ),
    "contains": "class All:\n    def __getitem__(self, i): return candidate(i)\nassert 5 not in All()",
    "asynchronous": (
        "import asyncio\nclass All:\n    def __aiter__(self): return self\n"
        "    async def __anext__(self): return candidate(1)\n"
        "async def main():\n    async for got in All(): assert got == 1\n"
        "asyncio.run(main())"
    ),
    "attribute": (
        "class All:\n    @property\n    def value(self): return candidate(1)\n"
        "assert getattr(All(), 'value', 1) == 1"
    ),
    "mapping": (
        "import collections\nclass All(dict):\n    def __missing__(self, key): return candidate(key)\n"
        "assert collections.ChainMap(All(), {1: 1})[1] == 1"
    ),
    "length": (
        "class All:\n    def __len__(self): return candidate(1)\n    def __iter__(self): return iter([])\n"
        "assert list(All()) == []"
    ),
    "generator": (
        "def each():\n    try: yield 1\n    finally: candidate(1)\n"
        "values = each()\nnext(values)\nvalues.close()"
    ),
}
SWALLOWED = {  # by what Python does in each
    "StopIteration": ("zip", "all", "list", "next", "iterator", "call until", "items", "contains"),
    "type('StopIteration', (StopIteration,), {})": ("zip", "iterator"),
    "IndexError": ("items", "contains"),
    "type('IndexError', (IndexError,), {})": ("items",),
    "StopAsyncIteration": ("asynchronous",),
    "AttributeError": ("attribute",),
    "KeyError": ("mapping",),
    "TypeError": ("length",),
    "GeneratorExit": ("generator", "zip"),
}


def check(body):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return CheckTests(f"def check(candidate):\n{lines}", "f")


@pytest.mark.usefixtures("tab")
@pytest.mark.parametrize(("error", "form"), [(e, form) for e, forms in SWALLOWED.items() for form in forms])
def test_an_exception_does_not_pass_a_check_that_does_not_expect_it(error, form):
    verdict = judge(f"def f(x): raise {error}('done')", check(SWALLOWING[form]))
    assert verdict.status == "error"
    assert "done" in verdict.message


@pytest.mark.parametrize(
    ("form", "error"), [("zip", "StopIteration"), ("all", "StopIteration"), ("items", "IndexError")]
)
def test_nor_does_it_in_a_box(form, error):
    verdict = judge(f"def f(x): raise {error}('done')", check(SWALLOWING[form]))
    assert (verdict.status, verdict.message) == ("error", f"line 1: {error}: done")


@pytest.mark.usefixtures("tab")
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ("ValueError", "ValueError"),
        ("IndexError", "IndexError"),
        ("IndexError", "LookupError"),
        ("IndexError", "(TypeError, IndexError)"),
        ("ZeroDivisionError", "ArithmeticError"),
        ("FileNotFoundError", "OSError"),
        ("KeyError", "Exception"),
        ("type('Own', (Exception,), {})", "Exception"),
        ("UnicodeDecodeError('ascii', b'done', 0, 1,", "ValueError"),
        ("StopIteration", "Exception"),
        ("RecursionError", "RuntimeError"),
        ("SystemExit", "Exception"),
    ],
)
def test_a_check_can_expect_an_exception(raised, expected):
    call = f"{raised} 'done')" if "(" in raised and raised[-1] == "," else f"{raised}('done')"
    tests = check(
        f"try: candidate(1)\nexcept {expected} as error: assert 'done' in str(error)\nelse: assert False"
    )
    assert judge(f"def f(x): raise {call}", tests).passed
    assert not judge("def f(x): return x", tests).passed


@pytest.mark.usefixtures("tab")
@pytest.mark.parametrize("raised", ["ValueError", "StopIteration", "type('Own', (Exception,), {})"])
def test_a_check_that_expects_a_runtime_error_gets_no_other(raised):
    tests = check("try: candidate(1)\nexcept RuntimeError: return\nassert False")
    verdict = judge(f"def f(x): raise {raised}('done')", tests)
    assert verdict.status == "error"
    assert "done" in verdict.message


@pytest.mark.usefixtures("tab")
def test_other_ways_to_expect_an_exception_work_too():
    source = "def f(x): raise IndexError('done')"
    assert judge(
        source, check("import contextlib\nwith contextlib.suppress(IndexError): candidate(1)")
    ).passed
    assert judge(source, check("try: candidate(1)\nexcept: return\nassert False")).passed
    named = "try: candidate(1)\nexcept Exception as error: assert type(error).__name__ == 'IndexError'"
    assert judge(source, check(named)).passed
