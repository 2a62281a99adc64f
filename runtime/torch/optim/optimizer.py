"""What all optimizers share: groups of parameters, and a state for each parameter."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

from torch.autograd.modes import enable_grad, no_grad
from torch.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# options of torch's that change how, not what, is computed; they are kept to be printed and saved
SPEED = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}


class Optimizer:
    """Base class; a subclass updates parameters in `_update`.

    Attributes:
        param_groups: Dicts with ``params`` and the options that they share.
        state: What is remembered of each parameter, by the parameter itself.
    """

    # one step of the parameters of a group, given those and their gradients
    _update: Callable[[list[Tensor], list[Tensor], dict[str, Any]], None]

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"torch.{params.dtype.title}Tensor"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(dict(group))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        if params and isinstance(params[0], tuple):
            param_group["param_names"] = [name for name, _ in params]
            params = [param for _, param in params]
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is "
                    f"{type(param).__qualname__}"
                )
            if not (param.is_leaf or param.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        known = {id(param) for group in self.param_groups for param in group["params"]}
        if not known.isdisjoint(id(param) for param in params):
            raise ValueError("some parameters appear in more than one parameter group")
        param_group["params"] = params
        self.param_groups.append(
            {**param_group, **{k: v for k, v in self.defaults.items() if k not in param_group}}
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        for group in self.param_groups:
            for param in group["params"]:
                if param._grad is not None and not set_to_none:
                    param._grad = param._grad.detach().zero_()
                else:
                    param._grad = None

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the loss and its gradients anew; its loss is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param._grad is not None]
            self._update(params, [param._grad for param in params], group)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State and options, with numbers in the place of parameters; the tensors are not copied."""
        params = list(chain.from_iterable(group["params"] for group in self.param_groups))
        number = {id(param): i for i, param in enumerate(params)}
        groups = [
            {
                **{k: v for k, v in group.items() if k != "params"},
                "params": [number[id(p)] for p in group["params"]],
            }
            for group in self.param_groups
        ]
        return {
            "state": {number[id(param)]: state for param, state in self.state.items()},
            "param_groups": groups,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`, in an optimizer of the same parameters."""
        saved = deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(saved, self.param_groups, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group"
            )
        params = list(chain.from_iterable(group["params"] for group in self.param_groups))
        numbers = chain.from_iterable(group["params"] for group in saved)
        by_number = dict(zip(numbers, params, strict=True))
        self.state = defaultdict(dict)
        for number, state in state_dict["state"].items():
            param = by_number[number]
            self.state[param] = {
                key: value.to(param.dtype) if isinstance(value, Tensor) and key != "step" else value
                for key, value in state.items()
            }
        self.param_groups = [
            {**new, "params": old["params"]} for new, old in zip(saved, self.param_groups, strict=True)
        ]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += [""] * (i > 0) + [f"Parameter Group {i}"]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def check(options: Mapping[str, Any]) -> None:
    """Reject options that cannot be right, in torch's words."""
    titles = {"lr": "learning rate", "eps": "epsilon value", "momentum": "momentum value"}
    titles["weight_decay"] = "weight_decay value"
    for name, title in titles.items():
        if name in options and not options[name] >= 0:
            raise ValueError(f"Invalid {title}: {options[name]}")
    for i, beta in enumerate(options.get("betas", ())):
        if not 0 <= beta < 1:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def refuse(**options: object) -> None:
    """Refuse options that the subset does not have."""
    for name, value in options.items():
        if value:
            raise NotImplementedError(f"{name}={value!r} is not in the in-page subset; run with PyTorch")


def written(*tensors: Tensor) -> None:
    """Note that the arrays of tensors were written to, and round those whose types are narrower."""
    for tensor in tensors:
        if tensor.dtype.rounded is not None:
            tensor._array[...] = tensor.dtype.rounded(tensor._array)
        root = tensor._root
        (tensor if root is None else root)._changes += 1
