"""AdamW and Muon as torch optimizers, around the update rules of `llmguide.training.update_rules`.

Both are `torch.optim.Optimizer`s: parameter groups, `state_dict`, hooks and torch's learning-rate schedulers
work with them. `make_optimizer` gives a language model its parameter groups.

Differences from torch.optim: the defaults of AdamW are those of GPT-3, and `Muon` also updates groups with
``use_muon=False``, by AdamW, so one optimizer updates the whole model (like Jordan's ``MuonWithAuxAdam``).
"""

from collections.abc import Callable, Iterable
from inspect import unwrap
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as fused_adamw

from llmguide.training.sharded_tensors import as_shard, gathered, is_shard, local_part
from llmguide.training.update_rules import Scaling, adamw, muon

Rule = Literal["adamw", "muon"]
Group = dict[str, Any]


class _Optimizer(torch.optim.Optimizer):
    """Base class that does not load the compiler of torch, which takes as long to load as torch itself.

    torch wraps these methods so that `torch.compile` leaves them alone, and loads the compiler for it. A
    training step is never compiled as a whole: the trainers compile single blocks.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)


class AdamW(_Optimizer):
    """AdamW as a torch optimizer, with the update rule of `adamw`.

    Args:
        params: Parameters, named parameters, or dicts with ``params`` and options of their own.
        lr: Learning rate; above 0.
        betas: Decay rates of the first and second moment, each in [0, 1).
        eps: Constant added to the denominator of the update; above 0.
        weight_decay: Decoupled weight decay; each step shrinks the weights by ``lr * weight_decay``.
        fused: Whether to use torch's fused kernel: equal to `adamw` up to rounding, and several times faster,
            because it reads memory once.

    >>> from llmguide import AdamW
    >>> x = nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([x], lr=0.25, weight_decay=0.0)
    >>> (3 * x).backward()
    >>> optimizer.step()
    >>> x.item()
    0.75
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        fused: bool = False,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "fused": fused}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: Function that recomputes the loss and its gradients; None: the gradients are there.

        Returns:
            The loss of the closure, or None without one.
        """
        loss = _evaluate(closure)
        for group in self.param_groups:
            _adamw_step(group, self.state)
        return loss


class Muon(_Optimizer):
    """Muon as a torch optimizer: `muon` for matrices, `adamw` for groups with ``use_muon=False``.

    Args:
        params: Matrices inside the blocks of a model, or dicts with ``params`` and options of their own. Put
            embeddings, the output head and vectors into groups with ``use_muon=False``.
        lr: Learning rate; above 0.
        momentum: Fraction of the running mean of gradients kept at each step, in [0, 1).
        weight_decay: Decoupled weight decay; each step shrinks the weights by ``lr * weight_decay``.
        scaling: Size of an update, as in `muon`.
        betas: Decay rates of the moments in the groups that use AdamW.
        eps: Constant added to the denominator in the groups that use AdamW.
        fused: Whether to use torch's fused kernel in the groups that use AdamW.

    Raises:
        ValueError: A group with ``use_muon=True`` holds a parameter that is not a matrix.

    >>> from llmguide import Muon
    >>> weight = nn.Parameter(torch.zeros(2, 2))
    >>> optimizer = Muon([weight], lr=0.02)
    >>> optimizer.param_groups[0]["use_muon"]
    True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        scaling: Scaling = "match_rms_adamw",
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        fused: bool = False,
    ):
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "scaling": scaling}
        of_adamw = {"betas": betas, "eps": eps, "fused": fused}
        super().__init__(params, {**options, **of_adamw, "use_muon": True})
        for group in self.param_groups:
            shapes = [tuple(p.shape) for p in group["params"] if group["use_muon"] and p.ndim != 2]
            if shapes:
                raise ValueError(
                    f"Muon updates matrices, not a parameter of shape {shapes[0]}; give such parameters in a "
                    "group with use_muon=False"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, as `AdamW.step`."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            (_muon_step if group["use_muon"] else _adamw_step)(group, self.state)
        return loss


def param_groups(model: nn.Module, *, weight_decay: float = 0.1, rule: Rule = "adamw") -> list[Group]:
    """Split the trainable parameters: matrices decay, vectors (biases, the gains of norms) do not.

    Args:
        model: Model whose parameters with more than one axis are the matrices, embeddings included.
        weight_decay: Weight decay of the matrices.
        rule: With ``muon``, the matrices inside blocks (modules in a list whose name ends with ``blocks``)
            are a group of their own with ``use_muon=True``.

    Returns:
        The groups that are not empty, with named parameters, for `AdamW` or `Muon`.

    Raises:
        ValueError: `rule` is ``muon`` and no block has a matrix.

    >>> groups = param_groups(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)))
    >>> [(group["weight_decay"], [name for name, _ in group["params"]]) for group in groups]
    [(0.1, ['0.weight']), (0.0, ['0.bias', '1.weight', '1.bias'])]
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    by_muon = [(name, p) for name, p in trained if rule == "muon" and "blocks." in name and p.ndim == 2]
    if rule == "muon" and not by_muon:
        raise ValueError(
            f"rule='muon' updates matrices inside blocks, but {type(model).__name__} has no parameter named "
            "'...blocks...' with two axes; use rule='adamw', or give Muon groups of your own"
        )
    names = {name for name, _ in by_muon}
    rest = [(name, p) for name, p in trained if name not in names]
    groups = [
        {"params": by_muon, "weight_decay": weight_decay, "use_muon": True},
        {"params": [(name, p) for name, p in rest if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [(name, p) for name, p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [{"use_muon": False, **group} for group in groups if group["params"]]


def make_optimizer(
    model: nn.Module,
    lr: float = 1e-3,
    *,
    rule: Rule = "adamw",
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
) -> AdamW | Muon:
    """Make the optimizer of a language model, with the groups of `param_groups` and the fused AdamW.

    Args:
        model: Model whose trainable parameters are updated.
        lr: Learning rate; above 0.
        rule: Update rule of the matrices inside blocks; all other parameters use AdamW.
        weight_decay: Weight decay of the matrices.
        betas: Decay rates of the moments of AdamW.
        eps: Constant added to the denominator of AdamW's update.
    """
    groups = param_groups(model, weight_decay=weight_decay, rule=rule)
    return (Muon if rule == "muon" else AdamW)(groups, lr, betas=betas, eps=eps, fused=True)


def _evaluate(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _adamw_step(group: Group, states: dict[Tensor, Any]) -> None:
    updated = [p for p in group["params"] if p.grad is not None]
    for param in updated:
        if not states[param]:  # each parameter counts its own steps, for the bias correction of its moments
            means = {"exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
            states[param] = {"step": 0, **means}
        states[param]["step"] += 1
    if group["fused"] and updated:
        _fused_adamw_step(group, updated, [states[param] for param in updated])
        return
    options = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
    for param in updated:
        state = states[param]
        new, state["exp_avg"], state["exp_avg_sq"] = adamw(
            param, param.grad, state["exp_avg"], state["exp_avg_sq"], step=state["step"], **options
        )
        param.copy_(new)


def _fused_adamw_step(group: Group, params: list[Tensor], states: list[dict[str, Any]]) -> None:
    steps = torch.tensor([state["step"] - 1.0 for state in states], device=params[0].device)  # it adds 1
    grads = [laid_out_like(param.grad, param) for param in params if param.grad is not None]
    fused_adamw(
        [local_part(param) for param in params],
        [local_part(grad) for grad in grads],
        [local_part(state["exp_avg"]) for state in states],
        [local_part(state["exp_avg_sq"]) for state in states],
        [],
        list(steps.unbind()),
        fused=True,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )


def _muon_step(group: Group, states: dict[Tensor, Any]) -> None:
    options = {name: group[name] for name in ("lr", "momentum", "weight_decay", "scaling")}
    for param in group["params"]:
        if param.grad is None:
            continue
        state = states[param]
        exp_avg = state["exp_avg"] if state else torch.zeros_like(param)
        # each process gathers the whole sharded matrix and computes the whole update
        new, exp_avg = muon(gathered(param), gathered(param.grad), gathered(exp_avg), **options)
        if is_shard(param):
            new, exp_avg = as_shard(new, param), as_shard(exp_avg, param)
        state["exp_avg"] = exp_avg
        param.copy_(new)


def laid_out_like(tensor: Tensor, param: Tensor, *, copy: bool = False) -> Tensor:
    """Return a tensor with the device and memory layout of its parameter.

    The fused kernel assumes one layout for all, but a weight from a GPT-2 file is stored transposed.
    """
    if not copy and tensor.stride() == param.stride():
        return tensor
    return torch.empty_like(param, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
