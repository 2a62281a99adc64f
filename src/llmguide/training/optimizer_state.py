"""The state of an optimizer by parameter name, as checkpoints store it.

torch's `state_dict` numbers the parameters in the order of their groups. Names stay valid with other groups,
and a sharded checkpoint needs them to find the shard of each process.
"""

from typing import Any

import torch
from torch import Tensor

from llmguide.training.optimizers import Group, Rule, laid_out_like


def named_state(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """Return the state by parameter name; its tensors are not copies, so the next step changes them.

    Args:
        optimizer: Optimizer with named parameters, such as one of `make_optimizer`.
    """
    named = _named_parameters(optimizer).items()
    return {name: dict(optimizer.state[p]) for name, (p, _) in named if p in optimizer.state}


def load_named_state(optimizer: torch.optim.Optimizer, state: dict[str, dict[str, Any]]) -> None:
    """Load a state of `named_state`, copied to the devices of the parameters.

    Args:
        optimizer: Optimizer of the model that the state was saved with.
        state: State by parameter name.

    Raises:
        ValueError: A name or shape matches no parameter of this optimizer, or the update rules differ.
    """
    parameters = _named_parameters(optimizer)
    for name, values in state.items():
        param, group = parameters.get(name, (None, {}))
        if param is None or values["exp_avg"].shape != param.shape:
            shape = None if param is None else tuple(param.shape)
            raise ValueError(
                f"the state holds {name!r} of shape {tuple(values['exp_avg'].shape)}, the model {shape}; "
                "load it into an optimizer of the model that it was saved with"
            )
        rule, expected = ("adamw" if "exp_avg_sq" in values else "muon"), _rule(group)
        if rule != expected:
            raise ValueError(
                f"the state of {name!r} is of rule={rule!r}, its group has {expected!r}; continue with the "
                "rule of the state, or start without a state"
            )
    optimizer.state.clear()
    for name, values in state.items():
        param, _ = parameters[name]
        optimizer.state[param] = {
            key: laid_out_like(value, param, copy=True) if isinstance(value, Tensor) else value
            for key, value in values.items()
        }


def _rule(group: Group) -> Rule:
    return "muon" if group.get("use_muon") and "momentum" in group else "adamw"


def _named_parameters(optimizer: torch.optim.Optimizer) -> dict[str, tuple[Tensor, Group]]:
    return {
        name: (param, group)
        for group in optimizer.param_groups
        for name, param in zip(group["param_names"], group["params"], strict=True)
    }
