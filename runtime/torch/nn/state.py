"""The state of a module: its tensors by name, to be saved and loaded."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from itertools import chain
from typing import TYPE_CHECKING, Any

from torch.autograd import no_grad
from torch.nn.parameter import Parameter
from torch.nn.tree import Tree
from torch.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `Module.load_state_dict` did not find a partner for."""

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__() if any(self) else "<All keys matched successfully>"


class State(Tree):
    """What every module can do with its state."""

    def _state(self) -> dict[str, Tensor]:
        """This module's own parameters and persistent buffers, by name."""
        kept = chain(
            self._parameters.items(),
            (item for item in self._buffers.items() if item[0] not in self._non_persistent_buffers_set),
        )
        return {name: tensor for name, tensor in kept if tensor is not None}

    def state_dict(
        self, *, destination: dict[str, Tensor] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """All parameters and persistent buffers by dotted name; they share memory with the module."""
        state = OrderedDict() if destination is None else destination
        for name, tensor in self._state().items():
            state[prefix + name] = tensor if keep_vars else tensor.detach()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy a state into this module, or with `assign` put its tensors in the place of the old ones.

        Raises:
            RuntimeError: A shape differs, or (if `strict`) a key is missing or not expected.
        """
        if not hasattr(state_dict, "keys"):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing, errors = [], []
        expected = set()
        for path, module in self.named_modules(remove_duplicate=False):
            for name, tensor in module._state().items():
                key = f"{path}.{name}" if path else name
                expected.add(key)
                if key not in state_dict:
                    missing.append(key)
                elif error := module._load(name, tensor, state_dict[key], key, assign):
                    errors.append(error)
        unexpected = [key for key in state_dict if key not in expected]
        if strict and missing:
            errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if strict and unexpected:
            errors.insert(1 if missing else 0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if errors:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors)
            )
        return _IncompatibleKeys(missing, unexpected)

    def _load(self, name: str, tensor: Tensor, new: Any, key: str, assign: bool) -> str:
        """Load one tensor; return what is wrong with it, if anything is."""
        if not isinstance(new, Tensor):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object '
                f"from checkpoint but received {type(new)}"
            )
        if tensor.ndim == 0 and new.shape == (1,):
            new = new[0]
        if new.shape != tensor.shape:
            return (
                f"size mismatch for {key}: copying a param with shape {new.shape} from checkpoint, the shape "
                f"in current model is {tensor.shape}."
            )
        if not assign:
            with no_grad():
                tensor.copy_(new)
        elif isinstance(tensor, Parameter):
            setattr(self, name, Parameter(new, tensor.requires_grad))
        else:
            setattr(self, name, new)
        return ""


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
