"""Modules as a tree: walking it, and changing all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from torch.autograd import no_grad
from torch.dtypes import bfloat16, dtype, float16, float32, float64
from torch.nn.parameter import Parameter
from torch.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.nn.module import Module

_T = TypeVar("_T")


class Tree:
    """What every module can do with the modules, parameters and buffers below it."""

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """All modules of the tree with their dotted names, this one (with the name "") first."""
        memo = set() if memo is None else memo
        this = cast("Module", self)
        if this in memo:
            return
        if remove_duplicate:
            memo.add(this)
        yield prefix, this
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(
                    memo, f"{prefix}.{name}" if prefix else name, remove_duplicate
                )

    def modules(self) -> Iterator[Module]:
        """All modules of the tree."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The submodules one level down, with their names."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The submodules one level down."""
        return (module for _, module in self.named_children())

    def _named_members(
        self, kept: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, tensor in module.__dict__[kept].items():
                if tensor is None or id(tensor) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names; a shared one once."""
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters; a shared one once."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their dotted names."""
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name."""
        module = cast("Module", self)
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Tree):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module in the place of a dotted name."""
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Tree):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict or hasattr(parent, name):
            parent.get_submodule(name)  # raises unless it is a module
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name."""
        return self._get_member(target, Parameter, "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name."""
        return self._get_member(target, Tensor, "a buffer")

    def _get_member(self, target: str, kind: type[_T], title: str) -> _T:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if not isinstance(member := getattr(module, name), kind):
            raise AttributeError(f"`{name}` is not {title}")
        return member

    # ---- changing all of it --------------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], object]) -> Self:
        """Call a function on every module, the leaves first."""
        for module in self.children():
            module.apply(fn)
        fn(cast("Module", self))
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """Change every parameter, gradient and buffer; parameters stay the same objects."""
        for module in self.children():
            module._apply(fn)
        for param in self._parameters.values():
            if param is not None:
                with no_grad():
                    param.data = fn(param)
                    if param.grad is not None:
                        param.grad = fn(param.grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert floating point parameters and buffers to a dtype; the only device is the CPU."""
        target = next((value for value in (*args, *kwargs.values()) if isinstance(value, dtype)), None)
        if target is not None and not (target.is_floating_point or target.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={target}"
            )
        others = [value for value in args if not isinstance(value, dtype)]
        named = {name: value for name, value in kwargs.items() if name != "dtype"}
        with_dtype = named if target is None else {**named, "dtype": target}

        def convert(tensor: Tensor) -> Tensor:
            has_parts = tensor.is_floating_point() or tensor.is_complex()
            return tensor.to(*others, **(with_dtype if has_parts else named))

        return self._apply(convert)

    def type(self, dst_type: dtype) -> Self:
        """Convert all parameters and buffers."""
        return self._apply(lambda tensor: tensor.to(dst_type))

    def _cast(self, wanted: dtype) -> Self:
        return self._apply(lambda tensor: tensor.to(wanted) if tensor.is_floating_point() else tensor)

    def float(self) -> Self:
        """Convert to float32."""
        return self._cast(float32)

    def double(self) -> Self:
        """Convert to float64."""
        return self._cast(float64)

    def half(self) -> Self:
        """Convert to float16."""
        return self._cast(float16)

    def bfloat16(self) -> Self:
        """Convert to bfloat16."""
        return self._cast(bfloat16)

    def cpu(self) -> Self:
        """Return this module, which is on the CPU."""
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, or back."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Switch to evaluation mode: no dropout."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say of all parameters whether they are trained."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for param in self.parameters():
            if param.grad is not None and not set_to_none:
                param.grad = param.grad.detach().zero_()
            else:
                param.grad = None
