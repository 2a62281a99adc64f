"""Bugs to learn debugging from: correct programs with one wrong token, and a test that fails.

The programs are the solutions of HumanEval, each with the first sentence of its docstring. A bug is a
mutation of one token in the body, such as ``<`` for ``<=``. Each is verified in the sandbox: the original
passes all tests of its problem, and the program with the bug fails one of them.

References: mutation (DeMillo et al. 1978, "Hints on test data selection"); the programs and tests (Chen et
al. 2021, arXiv:2107.03374).

Leaves out: bugs of several tokens, missing lines, and programs that run too long.
"""

import ast
import io
import random
import tokenize
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llmguide.coding.humaneval import CodeProblem
from llmguide.coding.sandbox.judging import judge
from llmguide.coding.sandbox.verdicts import CheckTests, Verdict

TIMEOUT_S = 2.0  # time limit of a program on all tests of its problem
LONGEST = 500  # characters of a program
LONGEST_LINE = 90  # characters of a test or of a line to mend
SWAPS = {  # tokens of equal role; the swap that mends a bug is among them, too
    "<": ("<=", ">"),
    "<=": ("<",),
    ">": (">=", "<"),
    ">=": (">",),
    "==": ("!=",),
    "!=": ("==",),
    "+": ("-", "*"),
    "-": ("+",),
    "*": ("+",),
    "+=": ("-=",),
    "-=": ("+=",),
    "/": ("//",),
    "//": ("/", "%"),
    "%": ("//",),
    "and": ("or",),
    "or": ("and",),
    "min": ("max",),
    "max": ("min",),
    "True": ("False",),
    "False": ("True",),
}


class Change(NamedTuple):
    """Another text of one line of a program.

    Attributes:
        line: Number of the line, from 1.
        text: The new text.
    """

    line: int
    text: str


class Bug(NamedTuple):
    """A program with a bug.

    Attributes:
        problem: Name of the problem that the program is to solve.
        function: Name of the function that the tests call.
        program: Source with the bug.
        line: Number of the line that is wrong, from 1.
        mended: The line without the bug.
        test: An assertion that fails, with the function as ``candidate``.
        outcome: Value that the function returned instead, or the error that it raised, in words.
    """

    problem: str
    function: str
    program: str
    line: int
    mended: str
    test: str
    outcome: str


def solution(problem: CodeProblem) -> str:
    r"""Return the canonical solution in a normal form, without comments and the rest of the docstring.

    >>> prompt = "def f(x):\n    'Double x. For all x.'\n"
    >>> solution(CodeProblem("t", prompt, "f", "    return 2*x  # twice", "")).splitlines()[-1]
    '    return 2 * x'
    """
    tree = ast.parse(problem.prompt + problem.canonical_solution)
    function = _function(tree, problem.entry_point)
    if first_sentence := (ast.get_docstring(function) or "").split(">>>")[0].partition(".")[0]:
        function.body[0] = ast.Expr(ast.Constant(" ".join(first_sentence.split())[:LONGEST_LINE]))
    return ast.unparse(ast.fix_missing_locations(tree))


def changed(program: str, change: Change) -> str:
    """Return a program with one line replaced; a line that it does not have changes nothing."""
    lines = program.splitlines()
    if 1 <= change.line <= len(lines):
        lines[change.line - 1] = change.text
    return "\n".join(lines)


def mutations(program: str, entry_point: str) -> list[Change]:
    r"""List the programs that differ in one token of the function's body, each as its changed line.

    >>> [change.text for change in mutations("def f(x):\n    return x + 1 < 0", "f")]  # doctest: +ELLIPSIS
    ['    return x - 1 < 0', '    return x * 1 < 0', '    return x + 0 < 0', '    return x + 2 < 0', ...]
    """
    function = _function(ast.parse(program), entry_point)
    first = function.body[1 if ast.get_docstring(function) else 0].lineno
    lines, found = program.splitlines(), []
    for token in tokenize.generate_tokens(io.StringIO(program).readline):
        (line, start), (_, end) = token.start, token.end
        if first <= line <= (function.end_lineno or 0):
            text = lines[line - 1]
            found += [Change(line, text[:start] + other + text[end:]) for other in _others(token)]
    return found


def _others(token: tokenize.TokenInfo) -> tuple[str, ...]:
    if token.type == tokenize.NUMBER and token.string.isdigit():
        n = int(token.string)
        return tuple(str(other) for other in (n - 1, n + 1) if other >= 0)
    return SWAPS.get(token.string, ())


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)


def bugs(problems: Sequence[CodeProblem], most: int, *, seed: int) -> Iterator[Bug]:
    """Plant bugs in the solutions, and yield those that the tests find.

    Args:
        problems: Problems with their solutions.
        most: Largest number of bugs in one program.
        seed: Seed of the choice of mutations.
    """
    for problem in problems:
        program = solution(problem)
        if len(program) > LONGEST or not judge(program, problem.tests(), timeout_s=TIMEOUT_S).passed:
            continue
        candidates, n = mutations(program, problem.entry_point), 0
        random.Random(f"{seed} {problem.task_id}").shuffle(candidates)
        for change in candidates:
            wrong = changed(program, change)
            verdict = judge(wrong, problem.tests(), timeout_s=TIMEOUT_S)
            mended = program.splitlines()[change.line - 1]
            if verdict.status not in ("wrong_answer", "error") or len(mended) > LONGEST_LINE:
                continue
            bug = Bug(
                problem.task_id,
                problem.entry_point,
                wrong,
                change.line,
                mended,
                str(verdict.expected),
                outcome(verdict),
            )
            if is_short_assertion(bug.test) and not passes_its_test(bug, wrong):
                yield bug
                n += 1
            if n == most:
                break


def is_short_assertion(test: str) -> bool:
    """Return whether a line of a check is one assertion on one call, with nothing from other lines."""
    if not test.startswith("assert candidate(") or len(test) > LONGEST_LINE:
        return False
    try:
        names = {node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
    except SyntaxError:  # the assertion continues on the next line
        return False
    return names == {"candidate"}


def passes_its_test(bug: Bug, program: str) -> bool:
    """Return whether a program passes the test that the bug fails, run alone."""
    tests = CheckTests(f"def check(candidate):\n    {bug.test}", bug.function)
    return judge(program, tests, timeout_s=TIMEOUT_S).passed


def outcome(verdict: Verdict) -> str:
    """Tell in words what the function did on the test that fails."""
    if verdict.status == "error":
        return f"raised {verdict.message}"[:LONGEST_LINE]
    return f"returned {verdict.got!r}"[:LONGEST_LINE]
