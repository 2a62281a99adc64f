"""How annotations are checked in tests: as in mypy, an int may stand where a float is asked for.

`jaxtyped` replaces the decorator of jaxtyping, which binds the arguments of each call to a signature, checks
them twice, and compiles two functions for each definition: a third of the time of the tests that train.
These repeat the same calls, so only the first calls of each function are checked in each test.
"""

import dataclasses
import inspect
from collections import Counter
from functools import wraps
from types import CodeType, FunctionType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping._storage import pop_shape_memo, push_shape_memo

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
_theirs = jaxtyping.jaxtyped
N_CHECKED = 100  # calls of each function in each test
calls: Counter[Any] = Counter()  # since the test began
_compiled: dict[CodeType, tuple[dict[str, Any], Any]] = {}


def jaxtyped(*given: Any, typechecker: object = None) -> Any:
    """Do as `jaxtyping.jaxtyped`, and faster where its import hook puts it on a definition of the package."""
    return _theirs(*given) if given else _typed


def _typed(defined: Any) -> Any:
    if inspect.isclass(defined):
        if dataclasses.is_dataclass(defined) and not hasattr(defined.__init__, "__wrapped__"):
            defined.__init__ = _typed(defined.__init__)
        return defined
    annotations = defined.__annotations__
    if not annotations:
        return defined
    is_generator = inspect.isgeneratorfunction(defined) or inspect.iscoroutinefunction(defined)
    if is_generator or any(isinstance(annotation, str) for annotation in annotations.values()):
        return _theirs(defined, typechecker=check)
    checked = _checked(defined)
    if checked is defined:
        return defined

    @wraps(defined)
    def with_axes(*args: Any, **kwargs: Any) -> Any:
        """Call with axis names of its own, which arguments and result share."""
        calls[checked] += 1
        if calls[checked] > N_CHECKED or jaxtyping.config.jaxtyping_disable:
            return defined(*args, **kwargs)
        push_shape_memo({})
        try:
            return checked(*args, **kwargs)
        finally:
            pop_shape_memo()

    return with_axes


def _checked(function: Any) -> Any:
    """Add the checks to a function; compile them once if it is defined again at each call of another."""
    annotations, checked = _compiled.get(function.__code__, (None, None))
    if annotations != function.__annotations__:
        checked = check(function)
        if checked is not function and "<locals>" in function.__qualname__:
            _compiled[function.__code__] = (dict(function.__annotations__), checked)
        return checked
    again = FunctionType(checked.__code__, checked.__globals__, checked.__name__)
    again.__kwdefaults__ = {**checked.__kwdefaults__, "__beartype_func": function}
    return again
