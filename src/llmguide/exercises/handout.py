"""The page with the tasks of a class: one HTML file that a browser opens from a disk or from any server.

It needs no scripts, no network and no other file, and takes its colors from the reader's browser. The code to
complete is in its links, as data.
"""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from llmguide import __version__
from llmguide.exercises.course import stub
from llmguide.exercises.definition import Exercise
from llmguide.guide import GUIDE

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif; }
html { background: Canvas; color: CanvasText; }
body { max-width: 44rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, monospace; }
pre { padding: 0.5rem 1rem; border: 1px solid; white-space: pre-wrap; }
section { margin-top: 2.5rem; }
"""


def page(asked: Sequence[Exercise]) -> str:
    """Return the tasks of exercises, and how to work on them, as HTML."""
    entries = "\n".join(f'<li><a href="#{each.name}">{each.name}</a>{_effort(each)}</li>' for each in asked)
    tasks = "\n".join(map(_task, asked))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Exercises</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Exercises</h1>
<p>Each exercise asks for one function. Complete it in your browser or in an editor, and hand in your answers.
Both ways name typical mistakes and give hints. Your teacher runs your answers again, also with inputs that
you have not seen.</p>
<nav aria-label="Exercises">
<ol>
{entries}
</ol>
</nav>
<h2>In your browser</h2>
<p>Follow the link to the guide below a task. Complete the function there and check it. When you have
finished, export your answers as a file on the page <a href="{GUIDE}progress/">Progress</a> of the guide, and
hand in this file.</p>
<h2>In an editor</h2>
<p>Install llmguide {__version__}, for example with <code>pip install &quot;llmguide[cli]&quot;</code>. Save
the files of the tasks in one folder, open a terminal there, and run</p>
<pre><code>llmguide learn --folder . --start {asked[0].name}</code></pre>
<p>The command grades a file each time you save it. Hand in the files.</p>
{tasks}
</main>
</body>
</html>
"""


def _task(asked: Exercise) -> str:
    name, file = asked.name, f"{asked.name}.py"
    return f"""<section aria-labelledby="{name}">
<h2 id="{name}">{name}</h2>
<p><code>{escape(asked.signature)}</code>{_text(asked.task.removeprefix(asked.signature))}{_effort(asked)}</p>
<p><a href="{GUIDE}exercises/#exercise-{name}">{name} in the guide</a></p>
<p><a download="{file}" href="data:text/x-python;charset=utf-8,{quote(stub(asked))}">Save {file}</a></p>
</section>"""


def _effort(asked: Exercise) -> str:
    return f" ({asked.level}, {asked.minutes} minutes)" if asked.level else ""


def _text(task: str) -> str:
    """Return a task as HTML, with the parts in backticks as code."""
    parts = escape(task).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
