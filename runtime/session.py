"""Runs the code of a page on behalf of a back end; protocol.md defines the messages.

The same file serves the worker in the reader's tab and the kernel on the reader's machine. It mirrors how the
page was run when it was built: cells share one namespace, the value of a last expression is printed, and the
helpers of table and figure fences are lent to those fences only.
"""

import ast
import contextlib
import io
import linecache
import os
import random
import re
import rlcompleter
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

OUTPUT_CAP = 64 * 1024  # characters of one run; a page with more of them is of no use to anyone
_CAPPED = f"\n[More than {OUTPUT_CAP // 1024} KB were printed; the rest is left out.]\n"
_FIGURE = re.compile(r"^!\[(?P<alt>[^\]]*)\]\([./]*(?P<path>assets/figures/[^)]+\.svg)\)$", re.MULTILINE)
_FIGURE_CAPTION = re.compile(r"\s*^Figure: (?P<caption>.+)$", re.MULTILINE)
_WORD = re.compile(r"[\w.]*$")
_PAUSE = 0.1  # seconds that the beginning of a line may wait for its end

Post = Callable[[dict[str, Any]], None]
_posts: list[Post] = []  # of the run that is going on, innermost last


def emit(value: Any) -> None:
    """Hand a value that JSON can hold to the page that started this run.

    Raises:
        RuntimeError: No run is going on.
    """
    if not _posts:
        raise RuntimeError("emit() hands values to a page, and no page is running this code")
    _posts[-1]({"type": "data", "value": value})


class _Stream(io.TextIOBase):
    """Posts what is written: the first text at once, each complete line, and what comes slowly."""

    def __init__(self, post: Callable[[str], None]) -> None:
        self._post = post
        self._pending = ""
        self._left = OUTPUT_CAP
        self._posted = -1.0  # when; long ago

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._left > 0:
            kept = text[: self._left]
            self._left -= len(kept)
            self._pending += kept
            if "\n" in kept or time.monotonic() - self._posted > _PAUSE:
                self.flush()
            if self._left <= 0:
                self.flush()
                self._post(_CAPPED)
        return len(text)

    def flush(self) -> None:
        if self._pending:
            self._posted = time.monotonic()
            text, self._pending = self._pending, ""
            self._post(text)


class _NoKeyboard(io.TextIOBase):
    """Stands for standard input, which neither a worker nor the kernel has for a cell."""

    def readline(self, _size: int = -1) -> str:  # type: ignore[override]
        raise EOFError("a cell cannot read from the keyboard; assign the text to a variable instead")

    read = readline


class _Scope:
    """The names of one page, and the folder that its code works in."""

    def __init__(self) -> None:
        self.module = types.ModuleType("page")
        self.folder = tempfile.TemporaryDirectory()
        _forget_settings()

    @property
    def names(self) -> dict[str, Any]:
        return self.module.__dict__


class Session:
    """Holds the scopes and answers messages; ``post`` takes each message to the page."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._scopes: dict[str, _Scope] = {}
        self._files: set[str] = set()
        self._stoppable = False

    def interrupt(self, *_: Any) -> None:
        """Handle SIGINT: stop the code of a run, and never the session, whose page would wait for the end.

        Raises:
            KeyboardInterrupt: Code of a page runs.
        """
        if self._stoppable:
            raise KeyboardInterrupt

    def handle(self, message: dict[str, Any]) -> None:
        """Answer one message.

        Raises:
            ValueError: The type of the message is unknown.
        """
        if message["type"] == "run":
            self._run(message)
        elif message["type"] == "complete":
            self._complete(message)
        elif message["type"] == "reset":
            self._scopes.pop(message["scope"], None)
        else:
            raise ValueError(f"a session knows no message of the type {message['type']!r}")

    # ---- running ---------------------------------------------------------------------------------

    def _run(self, message: dict[str, Any]) -> None:
        number, kind = message["id"], message.get("kind", "run")

        def post(reply: dict[str, Any]) -> None:
            self._post({"id": number, **reply})

        scope = self._scopes.get(message["scope"])
        if scope is None:
            scope = self._scopes[message["scope"]] = _Scope()
        sys.modules["page"] = scope.module
        os.chdir(scope.folder.name)
        scope.names.update(message.get("inputs") or {})
        self._register(message["name"], message["code"])
        if message.get("needs") == "figure":
            _quiet_plots()
        started = time.perf_counter()
        _posts.append(post)
        try:
            self._stoppable = True
            post({"type": "started"})
            with _streams(post, markdown=kind in {"table", "figure"}):
                self._execute(message, kind, scope.names)
            _post_plots(post)
            if kind == "run" and (checks := _gradient_checks(message["code"], scope.names)):
                post({"type": "checks", "checks": checks})
        except BaseException as error:  # SystemExit and KeyboardInterrupt end the run, not the back end
            self._stoppable = False
            interrupted = isinstance(error, KeyboardInterrupt)
            text = _last_line(error) if kind == "raises" else self._explain(error)
            post({"type": "error", "text": text, "interrupted": interrupted})
        finally:
            self._stoppable = False
            _posts.pop()
            post({"type": "done", "seconds": time.perf_counter() - started})

    def _execute(self, message: dict[str, Any], kind: str, names: dict[str, Any]) -> None:
        code, name = message["code"], message["name"]
        with contextlib.ExitStack() as stack:
            if kind in {"table", "figure"}:
                from site_tools.execution import helpers  # noqa: PLC0415 (most runs need none)

                draw = message.get("draw", True)
                stack.enter_context(helpers(names, f"docs/{message['page']}.md", draw=draw))
            tree = ast.parse(code, name)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec", dont_inherit=True), names)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), names)
                if value is not None:
                    print(repr(value))

    def _register(self, name: str, code: str) -> None:
        """Let tracebacks find the source of a cell."""
        self._files.add(name)
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)

    def _explain(self, error: BaseException) -> str:
        """The traceback with no frames but the reader's own."""
        if isinstance(error, ModuleNotFoundError) and sys.platform == "emscripten":
            from missing_modules import explain  # noqa: PLC0415 (most runs import what there is)

            explain(error)
        report = traceback.TracebackException.from_exception(error)
        self._keep_own(report, set())
        return "".join(report.format()).rstrip()

    def _keep_own(self, report: traceback.TracebackException, seen: set[int]) -> None:
        if id(report) in seen:
            return
        seen.add(id(report))
        report.stack[:] = [frame for frame in report.stack if frame.filename in self._files]
        for other in (report.__cause__, report.__context__, *(report.exceptions or ())):
            if other is not None:
                self._keep_own(other, seen)

    # ---- completing ------------------------------------------------------------------------------

    def _complete(self, message: dict[str, Any]) -> None:
        # pages count in units of UTF-16, of which an emoji has two
        before = message["code"].encode("utf-16-le", "surrogatepass")[: 2 * message["cursor"]]
        before = before.decode("utf-16-le", "surrogatepass")
        word = _WORD.search(before)
        assert word is not None, "the pattern matches the empty word"
        scope = self._scopes.get(message["scope"])
        names: list[str] = []
        if scope is not None and word[0]:
            completer = rlcompleter.Completer(scope.names)
            with contextlib.suppress(Exception):  # looking up an attribute may run any code
                found = (
                    completer.attr_matches(word[0]) if "." in word[0] else completer.global_matches(word[0])
                )
                names = sorted({name.rstrip("( :").rpartition(".")[2] for name in found})
        start = message["cursor"] - len(word[0].rpartition(".")[2].encode("utf-16-le")) // 2
        self._post({"type": "completions", "id": message["id"], "from": start, "names": names})


def _gradient_checks(code: str, names: dict[str, Any]) -> list[str]:
    """Return a call of `check_gradient` for each function whose gradient can be checked.

    The code defines such a function at its top level, and calls it there with names or constants, of which
    at least one is a floating-point tensor. Arguments that are other expressions would have to be computed
    again, with their side effects.
    """
    torch = sys.modules.get("torch")
    body = ast.parse(code).body
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    if torch is None or not defined:
        return []
    checks: dict[str, str] = {}
    outside = [node for node in body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for call in (node for statement in outside for node in ast.walk(statement) if isinstance(node, ast.Call)):
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        values = [names.get(argument.id) for argument in arguments if isinstance(argument, ast.Name)]
        if (
            isinstance(call.func, ast.Name)
            and call.func.id in defined
            and all(isinstance(argument, ast.Name | ast.Constant) for argument in arguments)
            and any(isinstance(value, torch.Tensor) and value.is_floating_point() for value in values)
        ):
            check = ast.Call(ast.Name("check_gradient"), [call.func, *call.args], call.keywords)
            checks.setdefault(call.func.id, ast.unparse(check))
    return list(checks.values())


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _forget_settings() -> None:
    """Put the generators and settings that modules hold for all scopes into a new interpreter's state."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.set_printoptions(profile="default", sci_mode=False)
        torch.set_printoptions(profile="default")


@contextlib.contextmanager
def _streams(post: Post, *, markdown: bool) -> Iterator[None]:
    """Send what is printed to the page; what helpers print is Markdown, and is sent when complete.

    Nothing can be read from standard input meanwhile.
    """
    errors = _Stream(lambda text: post({"type": "output", "stream": "stderr", "text": text}))
    printed = io.StringIO()
    output = (
        printed
        if markdown
        else _Stream(lambda text: post({"type": "output", "stream": "stdout", "text": text}))
    )
    stdin, sys.stdin = sys.stdin, _NoKeyboard()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            yield
        finally:
            sys.stdin = stdin
            output.flush()
            errors.flush()
            if markdown:
                _post_markdown(printed.getvalue(), post)


def _post_markdown(text: str, post: Post) -> None:
    """Send each figure that a helper drew and named, and the rest as it is."""
    rest, position = [], 0
    for image in _FIGURE.finditer(text):
        from site_tools import DOCS  # noqa: PLC0415 (helpers ran, so the package is there)

        rest.append(text[position : image.start()])
        position = image.end()
        caption = _FIGURE_CAPTION.match(text, position)
        if caption:
            position = caption.end()
        svg = (DOCS / image["path"]).read_text(encoding="utf-8")
        post(
            {
                "type": "figure",
                "svg": svg,
                "alt": image["alt"],
                "caption": caption["caption"] if caption else "",
            }
        )
    if remaining := "".join([*rest, text[position:]]).strip("\n"):
        post({"type": "output", "stream": "markdown", "text": remaining})


def _quiet_plots() -> None:
    """Keep to ourselves what matplotlib warns of and readers can do nothing about."""
    import logging  # noqa: PLC0415 (most runs draw nothing)

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # that it looks for fonts
    # of pyplot.show(): the plots are shown when the run ends
    warnings.filterwarnings("ignore", "Figure.* is non-interactive, and thus cannot be shown")


def _post_plots(post: Post) -> None:
    """Send and close what the reader's own code drew with pyplot."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    for number in pyplot.get_fignums():
        file = io.StringIO()
        pyplot.figure(number).savefig(file, format="svg")
        post({"type": "figure", "svg": file.getvalue(), "alt": "A plot drawn by this code", "caption": ""})
    pyplot.close("all")
