"""The list of all graded exercises, each with its page: docs/exercises.md."""

from llmguide.exercises import Exercise, exercise, exercises
from llmguide.exercises.comparing import same
from llmguide.exercises.hidden_tests import with_hidden_tests
from llmguide.exercises.ladder import EXERCISES as LADDER
from llmguide.exercises.sandbox import LEAST_S, MOST_S, TIMES_SOLUTION
from site_tools import DOCS, generated_head
from site_tools.built.plain_markdown import sections
from site_tools.fences import prose_lines
from site_tools.links import heading_at
from site_tools.markdown.exercises import LINE, task

PAGE = DOCS / "exercises.md"
_INTRODUCTION = """
Each exercise asks you to write one function. Your code runs in your browser tab and is compared with the
package's function on test inputs. If its results match those of a typical mistake, or of two mistakes
together, the check names them and gives a hint. In Python, `llmguide.exercises.grade` does the same. Your
code and your results stay in your browser, where `torch` is [a subset of PyTorch](reference/torch-subset.md).
"""

_LADDER = """\
## The ladder

One small language model, from a tokenizer to fine-tuning, in steps that build on each other. Each step can
call the functions of the steps before it: your own, if you have solved them on this page, and otherwise the
package's. So you can start anywhere. After the step `write`, a model made of your functions learns a short
text and continues it.

In a terminal, `llmguide learn` asks the same exercises. It writes each one to a file in a folder, checks
the file whenever you save it, and remembers what you have solved. `llmguide learn --start gpt` starts at
another step. The folder also contains `AGENTS.md`. It tells a coding assistant to explain, to ask, to give
hints and to name the page to read, and never to write an answer. [Two conversations](tutors.md) show how
that goes.

A model is a dict of tensors: `tokens` (V, D), `positions` (T, D), the final norm `norm` (D,) and `layers`,
a list with a dict for each layer. A layer has the norms `norm_1` and `norm_2` (D,), the matrices of
attention `q`, `k`, `v` and `o` (D, D), and those of the feed-forward layer, `up` (4D, D) and `down` (D,
4D). Matrices are stored as in `torch.nn.Linear`, outputs by inputs; there are no biases.
"""

_SHARING = """
## Certificates

A certificate is a file with your solutions, which anyone can check by running them again:

```console
llmguide learn --certificate ada.json   # the solved exercises of the folder learn
llmguide verify ada.json
```

`verify` runs each solution in a sandbox on Linux and says which are right. It also says if the file was
changed after it was written, if another version of the guide wrote it, and if an exercise is unknown.
The file that you [export from your browser](progress.md#export-and-import) works as well. A
certificate shows that the solutions work. It cannot show who wrote them.

## For teachers

Choose exercises, and hand them out, collect the answers and grade them on your own machine. There is no
server and no account.

```console
llmguide class new week-1 --exercises temperature bits
llmguide class collect week-1 answers
llmguide class report week-1
```

To take all exercises of the ladder, write `--exercises ladder`. `new` writes a folder for your students,
`week-1/handout`, with the page `index.html` and a file to complete for each exercise. A browser opens the
page from the folder or from any web server, such as that of your course. Its links lead to the exercises in
this guide, where students can solve them without an installation. `collect` reads a folder that contains, for
each student, a folder with the files, a certificate, or the file that the page
[Progress](progress.md#export-and-import) exports. `report` prints a table and writes `week-1/report.csv`.
Where an answer is wrong in a known way, the table names the mistake. To see the message and the hint that
belong to it, run `llmguide verify` on a file in `week-1/submissions`.

Each answer runs in a sandbox of its own, which needs Linux: it has no network, cannot read or write
your files, and may use {least_s} seconds of processor time plus {times_solution} times what the solution
takes, at most {most_s} seconds. The results are compared outside of it. An answer of the ladder is right if
it works with the package's functions or with the student's own earlier answers.

The tests that a student sees are public, so an answer could store what they expect. Therefore, each student
has a seed, which is computed from the student's name and a secret number in `week-1/class.json`. A right
answer passes the public tests, and also hidden tests whose inputs are sampled with this seed. If it fails
only the hidden ones, the table says *passes only the public tests*. {n_hidden} of the {n_exercises} exercises
have hidden tests. The package also contains the solutions, and this guide shows them, so read the files where
grades matter.
"""


def placed() -> dict[str, list[str]]:
    """For each page the names of its graded exercises, both in reading order.

    Raises:
        ValueError: An exercise is on two pages.
    """
    found: dict[str, list[str]] = {}
    for page in [page for group in sections().values() for page in group]:
        path = DOCS / page
        if path != PAGE and path.is_file():
            prose = "\n".join(prose_lines(path.read_text(encoding="utf-8")))
            if names := [match["name"] for match in LINE.finditer(prose)]:
                found[page] = names
    names = [name for group in found.values() for name in group]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"exercises on two pages: {', '.join(sorted(twice))}")
    return found


def render() -> str:
    """The page that lists them."""
    head = generated_head(
        "Exercises",
        "Functions to write for every chapter, checked in your browser tab; typical mistakes are named.",
        "site_tools/content/exercises.py from the pages and src/llmguide/exercises",
    )
    chapters = (_chapter(*pair) for pair in placed().items())
    rungs = (f"@exercise {found.name}\n" for found in LADDER)
    n_hidden = sum(map(_has_hidden_tests, exercises().values()))
    sharing = _SHARING.format(
        n_hidden=n_hidden,
        n_exercises=len(exercises()),
        least_s=LEAST_S,
        most_s=MOST_S,
        times_solution=TIMES_SOLUTION,
    )
    return "\n".join([head, _INTRODUCTION.strip(), "", *chapters, _LADDER, *rungs, sharing])


def _has_hidden_tests(found: Exercise) -> bool:
    return not same(with_hidden_tests(found, 1).probes(), found.probes())


def _chapter(page: str, names: list[str]) -> str:
    items = [f"- {_linked(exercise(name), page)}" for name in names]
    opening = f'## {heading_at(page)}\n\n<div class="exercise-list" markdown>\n'
    return "\n".join([opening, *items, "\n</div>\n"])


def _linked(found: Exercise, page: str) -> str:
    """A link to an exercise; it has the same anchor here as the exercise on its page."""
    anchor = f"#exercise-{found.name}"
    text = task(found).removeprefix(f"`{found.signature}`")
    return f"[`{found.signature}`]({page}{anchor}){{ {anchor} }}{text}"
