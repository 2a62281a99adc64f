"""The base class of all modules: a tree of parameters, buffers and submodules, called like a function."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from torch.nn.parameter import Parameter
from torch.nn.state import State
from torch.refusal import is_gap, refusal
from torch.tensor import Tensor
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    # each with whether it is given the keyword arguments
    Hooks = OrderedDict[int, tuple[Callable[..., Any], bool]]


def _forward_unimplemented(self: Module, *_: Any) -> Any:
    """Compute the module's result; every subclass has its own."""
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


class Module(State):
    """Base class of all modules; a subclass defines ``forward``.

    Parameters, buffers and submodules are kept in dicts of their own, in the order in which they were set.
    """

    training = True
    _version = 1  # of the form of its state, as files name it
    _forward_hooks: Hooks
    _forward_pre_hooks: Hooks
    # a value, so that each subclass may choose the arguments of its method
    forward: Callable[..., Any] = _forward_unimplemented

    def __init__(self) -> None:
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _modules={},
            _forward_hooks=OrderedDict(),
            _forward_pre_hooks=OrderedDict(),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` between the hooks."""
        if not (self._forward_hooks or self._forward_pre_hooks):
            return self.forward(*args, **kwargs)
        for hook, with_kwargs in tuple(self._forward_pre_hooks.values()):
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is not None and with_kwargs:
                args, kwargs = changed
            elif changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        out = self.forward(*args, **kwargs)
        for hook, with_kwargs in tuple(self._forward_hooks.values()):
            changed = hook(self, args, kwargs, out) if with_kwargs else hook(self, args, out)
            if changed is not None:
                out = changed
        return out

    # ---- attributes ----------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_modules" in own:  # else Module.__init__ has not been called
            if name in own["_parameters"]:
                return own["_parameters"][name]
            if name in own["_modules"]:
                return own["_modules"][name]
            if name in own["_buffers"]:
                return own["_buffers"][name]
        if not name.startswith("_") and is_gap("torch.nn.Module", name):
            raise refusal("torch.nn.Module", name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._forget(name, "parameters", self.__dict__.get("_parameters"))
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name, "module", self.__dict__.get("_modules"))
            self._modules[name] = value
        elif name in self.__dict__.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    _cannot_assign(value, f"as parameter '{name}' (torch.nn.Parameter or None expected)")
                )
            self._parameters[name] = None
        elif name in self.__dict__.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    _cannot_assign(value, f"as child module '{name}' (torch.nn.Module or None expected)")
                )
            self._modules[name] = None
        elif name in self.__dict__.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    _cannot_assign(
                        value, f"as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None expected)"
                    )
                )
            self._buffers[name] = value
        else:
            object.__setattr__(self, name, value)

    def _forget(self, name: str, kind: str, home: dict[str, Any] | None) -> None:
        """Remove a member from where it was kept before; in its home it keeps its place."""
        if home is None:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        for members in (self.__dict__, self._parameters, self._buffers, self._modules):
            if members is not home:
                members.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __delattr__(self, name: str) -> None:
        for members in (self._parameters, self._buffers, self._modules):
            if name in members:
                del members[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        own = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(name for name in own if not name[0].isdigit())

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or a place for one (None)."""
        self._check_name(name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                _cannot_assign(param, f"object to parameter '{name}' (torch.nn.Parameter or None required)")
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the state but not trained."""
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                _cannot_assign(tensor, f"object to buffer '{name}' (torch Tensor or None required)")
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._check_name(name, "module", self._modules)
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, name: str, kind: str, members: Collection[str]) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in members:
            raise KeyError(f"attribute '{name}' already exists")

    # ---- hooks ---------------------------------------------------------------------------------------------

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Have ``hook(module, args, out)`` called after ``forward``; what it returns replaces ``out``."""
        return _register(self._forward_hooks, hook, prepend, with_kwargs)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Have ``hook(module, args)`` called before ``forward``; what it returns replaces ``args``."""
        return _register(self._forward_pre_hooks, hook, prepend, with_kwargs)

    # ---- printing ------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of a printed module, before its submodules."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        members = [f"({name}): {_indented(repr(module))}" for name, module in self._modules.items()]
        if len(extra) == 1 and not members:
            return f"{self._get_name()}({extra[0]})"
        if not extra and not members:
            return f"{self._get_name()}()"
        return "\n  ".join([f"{self._get_name()}(", *extra, *members]) + "\n)"


def _register(hooks: Hooks, hook: Callable[..., Any], prepend: bool, with_kwargs: bool) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = (hook, with_kwargs)
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _typename(value: object) -> str:
    module = type(value).__module__
    return type(value).__qualname__ if module == "builtins" else f"{module}.{type(value).__qualname__}"


def _cannot_assign(value: object, rest: str) -> str:
    return f"cannot assign '{_typename(value)}' {rest}"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
