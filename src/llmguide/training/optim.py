r"""Optimizers written out, and gradient clipping.

`adamw` and `muon` are one step of one tensor, as pure functions; `Optimizer` applies them to a model and
keeps their state. `llmguide.training.schedules` gives the learning rate of each step.

References: AdamW (Kingma & Ba 2014, arXiv:1412.6980, algorithm 1; decoupled decay: Loshchilov & Hutter 2017,
arXiv:1711.05101, algorithm 2); Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) and its
scaling for large models (Moonlight, Liu et al. 2025, arXiv:2502.16982, section 2.2); clipping (Pascanu et
al. 2012, arXiv:1211.5063, algorithm 1).

| symbol | name here | meaning |
| --- | --- | --- |
| $\theta$, $g$ | `param`, `grad` | weights, their gradient |
| $m$, $v$ | `exp_avg`, `exp_avg_sq` | running means of $g$ and $g^2$ |
| $t$ | `step` | number of the step, from 1 |
| $\eta$, $\lambda$ | `lr`, `weight_decay` | learning rate, decay |
| $\mu$ | `momentum` | how much of the running mean stays |

Leaves out: AMSGrad and L2 decay through the gradient; torch.optim has them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.adamw import adamw as torch_adamw

from llmguide.training.sharded import as_shard, gathered, is_shard

Rule = Literal["adamw", "muon"]
Scaling = Literal["original", "match_rms_adamw"]
Weights = Float[Tensor, "*shape"]


def adamw(
    param: Weights,
    grad: Weights,
    exp_avg: Weights,
    exp_avg_sq: Weights,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Weights, Weights, Weights]:
    r"""One step of AdamW on one tensor.

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
    \theta \leftarrow (1 - \eta \lambda)\, \theta
    - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$

    The means start at zero, so early on they are too small; dividing by $1 - \beta^t$ undoes that exactly.
    As in torch, the decay is multiplied by the learning rate.

    Args:
        param: Weights.
        grad: Gradient of the loss.
        exp_avg: $m$, zeros at first.
        exp_avg_sq: $v$, zeros at first.
        step: Number of this step, from 1.
        lr: Learning rate.
        betas: $\beta_1$ and $\beta_2$. The defaults are those of GPT-3 (arXiv:2005.14165, appendix B);
            torch's 0.999 remembers a thousand steps and is slow to notice that gradients have grown.
        eps: Keeps the division finite.
        weight_decay: $\lambda$.

    Returns:
        New weights, $m$ and $v$.

    >>> zero = torch.zeros(2)
    >>> param, m, v = adamw(torch.ones(2), torch.tensor([4.0, -0.01]), zero, zero, step=1, lr=0.1)
    >>> param.tolist()  # the first step moves each weight by lr against the sign of its gradient
    [0.9, 1.1]
    """
    beta_1, beta_2 = betas
    exp_avg = exp_avg.lerp(grad, 1 - beta_1)
    exp_avg_sq = (beta_2 * exp_avg_sq).addcmul_(grad, grad, value=1 - beta_2)
    denominator = exp_avg_sq.sqrt().div_(sqrt(1 - beta_2**step)).add_(eps)
    decayed = param * (1 - lr * weight_decay)
    return decayed.addcdiv_(exp_avg, denominator, value=-lr / (1 - beta_1**step)), exp_avg, exp_avg_sq


def orthogonalize(matrix: Float[Tensor, "m n"], *, n_iterations: int = 5) -> Float[Tensor, "m n"]:
    r"""Move every singular value of a matrix close to 1 and keep its singular vectors.

    With $G = U S V^\top$, normalized, each Newton-Schulz iteration
    $X \leftarrow a X + b\,(X X^\top) X + c\,(X X^\top)^2 X$ maps every singular value $s$ to
    $a s + b s^3 + c s^5$. Jordan's coefficients are steep at 0 and do not converge: after five iterations
    the values lie between about 0.7 and 1.2, which trains as well as 1.

    Args:
        matrix: $G$; computed in its dtype (`muon` passes bfloat16).
        n_iterations: How often the polynomial is applied.

    Returns:
        Approximately $U V^\top$.

    >>> orthogonalize(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), n_iterations=1).tolist()  # f(0.6), f(0.8)
    [[1.19327, 0.0], [0.0, 0.97648]]
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix  # the smaller of the two Gram matrices is the cheaper one
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(n_iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def muon(
    param: Float[Tensor, "m n"],
    grad: Float[Tensor, "m n"],
    exp_avg: Float[Tensor, "m n"],
    *,
    lr: float,
    momentum: float = 0.95,
    weight_decay: float = 0.0,
    scaling: Scaling = "match_rms_adamw",
) -> tuple[Float[Tensor, "m n"], Float[Tensor, "m n"]]:
    r"""One step of Muon on one matrix: orthogonalized Nesterov momentum.

    $$m \leftarrow \mu m + (1 - \mu) g, \quad
    \theta \leftarrow (1 - \eta \lambda)\, \theta
    - \eta\, \rho\, \operatorname{orthogonalize}(\mu m + (1 - \mu) g)$$

    An orthogonal update moves all directions equally, where the gradient of a weight matrix is dominated by
    few. It is meant for the hidden matrices of a network; embeddings, output head and vectors take AdamW.

    Args:
        param: Weights.
        grad: Gradient of the loss.
        exp_avg: $m$, zeros at first.
        lr: Learning rate.
        momentum: $\mu$.
        weight_decay: $\lambda$.
        scaling: $\rho$. ``original`` (Jordan): $\sqrt{\max(1, m / n)}$. ``match_rms_adamw`` (Moonlight,
            section 2.2): $0.2 \sqrt{\max(m, n)}$, which gives updates the size of AdamW's, so that both can
            share learning rate and decay. The names are torch's.

    Returns:
        New weights and $m$.

    >>> param, _ = muon(torch.zeros(2, 2), torch.diag(torch.tensor([2.0, -2.0])), torch.zeros(2, 2), lr=1.0)
    >>> (param.diagonal().sign() * (param.diagonal().abs() > 0.15)).tolist()
    [-1.0, 1.0]
    """
    exp_avg = exp_avg.lerp(grad, 1 - momentum)
    # bfloat16 as published: the iteration tolerates its error and runs at the speed of half precision
    update = orthogonalize(grad.lerp(exp_avg, momentum).bfloat16())
    m, n = param.shape
    ratio = sqrt(max(1, m / n)) if scaling == "original" else 0.2 * sqrt(max(m, n))
    return (param * (1 - lr * weight_decay)).add_(update, alpha=-lr * ratio), exp_avg


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that are updated alike.

    Attributes:
        parameters: By name, so that saved state finds its parameter again.
        rule: Which function updates them.
        weight_decay: Share of the learning rate by which they shrink each step.
    """

    parameters: dict[str, nn.Parameter]
    rule: Rule = "adamw"
    weight_decay: float = 0.0


def param_groups(model: nn.Module, *, weight_decay: float = 0.1, rule: Rule = "adamw") -> list[ParamGroup]:
    """Split the trainable parameters: matrices decay, vectors (biases, the gains of norms) do not.

    With ``rule="muon"`` the matrices inside the blocks take Muon and all others AdamW.

    Args:
        model: Its parameters with more than one axis are the matrices, embeddings included.
        weight_decay: Of the matrices.
        rule: For the matrices inside blocks (modules in a list whose name ends with ``blocks``).

    Returns:
        The groups that are not empty.

    Raises:
        ValueError: Muon finds no matrix inside a block.

    >>> groups = param_groups(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)))
    >>> [(group.weight_decay, list(group.parameters)) for group in groups]
    [(0.1, ['0.weight']), (0.0, ['0.bias', '1.weight', '1.bias'])]
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = {name: p for name, p in trained.items() if "blocks." in name and p.ndim == 2}
    if rule == "muon" and not hidden:
        raise ValueError(
            f"rule='muon' updates matrices inside blocks, but {type(model).__name__} has no parameter named "
            "'...blocks...' with two axes; use rule='adamw' or build the ParamGroups by hand"
        )
    by_muon = hidden if rule == "muon" else {}
    rest = {name: p for name, p in trained.items() if name not in by_muon}
    groups = [
        ParamGroup(by_muon, "muon", weight_decay),
        ParamGroup({name: p for name, p in rest.items() if p.ndim > 1}, "adamw", weight_decay),
        ParamGroup({name: p for name, p in rest.items() if p.ndim <= 1}),
    ]
    return [group for group in groups if group.parameters]


class Optimizer:
    """Apply `adamw` or `muon` to every parameter that has a gradient, and keep the state between steps.

    Args:
        groups: What to update and how; see `param_groups`.
        betas: Of AdamW.
        eps: Of AdamW.
        momentum: Of Muon.
        fused: Run AdamW in torch's fused kernel, which goes through memory once: equal to `adamw` but for the
            rounding, and several times faster.

    >>> x = nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Optimizer([ParamGroup({"x": x})])
    >>> (3 * x).backward()
    >>> optimizer.step(lr=0.25)
    >>> x.item()
    0.75
    """

    def __init__(
        self,
        groups: Sequence[ParamGroup],
        *,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        momentum: float = 0.95,
        fused: bool = False,
    ):
        self.groups = groups
        self.betas = betas
        self.eps = eps
        self.momentum = momentum
        self.fused = fused
        self.state: dict[str, dict[str, Any]] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update the parameters with their gradients at this learning rate."""
        for group in self.groups:
            if self.fused and group.rule == "adamw":
                self._fused_adamw(group, lr)
                continue
            update = self._adamw if group.rule == "adamw" else self._muon
            for name, param in group.parameters.items():
                if param.grad is not None:
                    param.copy_(update(name, param, param.grad, lr, group.weight_decay))

    def zero_grad(self) -> None:
        """Forget the gradients; a parameter that gets none before the next step is then left alone."""
        for group in self.groups:
            for param in group.parameters.values():
                param.grad = None

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State by parameter name; it shares memory with the optimizer, so save it before the next step."""
        return {name: dict(state) for name, state in self.state.items()}

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Continue from a state of `state_dict`, moved to where the parameters are.

        Raises:
            ValueError: A name or a shape belongs to no parameter of this optimizer, or the rules differ.
        """
        parameters = {name: p for group in self.groups for name, p in group.parameters.items()}
        rules = {name: group.rule for group in self.groups for name in group.parameters}
        for name, values in state.items():
            if name not in parameters or values["exp_avg"].shape != parameters[name].shape:
                shape = tuple(parameters[name].shape) if name in parameters else None
                raise ValueError(
                    f"the state holds {name!r} of shape {tuple(values['exp_avg'].shape)}, the model {shape}; "
                    "load it into an optimizer of the model that it was saved with"
                )
            rule = "adamw" if "exp_avg_sq" in values else "muon"
            if rule != rules[name]:
                raise ValueError(
                    f"the state of {name!r} is of rule={rule!r}, its group has {rules[name]!r}; go on with "
                    "the rule of the state, or start with none"
                )
        self.state = {
            name: {
                key: _laid_out(value, parameters[name], copy=True) if isinstance(value, Tensor) else value
                for key, value in values.items()
            }
            for name, values in state.items()
        }

    def _adamw(self, name: str, param: Tensor, grad: Tensor, lr: float, weight_decay: float) -> Tensor:
        old = self._adamw_state(name, param)
        step = old["step"] + 1
        param, exp_avg, exp_avg_sq = adamw(
            param,
            grad,
            old["exp_avg"],
            old["exp_avg_sq"],
            step=step,
            lr=lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=weight_decay,
        )
        self.state[name] = {"step": step, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
        return param

    def _adamw_state(self, name: str, param: Tensor) -> dict[str, Any]:
        # each parameter counts its own steps: the bias correction is for the gradients that it has seen
        if name not in self.state:
            means = {"exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
            self.state[name] = {"step": 0, **means}
        return self.state[name]

    def _fused_adamw(self, group: ParamGroup, lr: float) -> None:
        updated = [(name, p, p.grad) for name, p in group.parameters.items() if p.grad is not None]
        if not updated:
            return
        states = [self._adamw_state(name, p) for name, p, _ in updated]
        steps = torch.tensor([float(state["step"]) for state in states], device=updated[0][1].device)
        torch_adamw(
            [_local(p) for _, p, _ in updated],
            [_local(_laid_out(grad, p)) for _, p, grad in updated],
            [_local(state["exp_avg"]) for state in states],
            [_local(state["exp_avg_sq"]) for state in states],
            [],
            list(steps.unbind()),
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=lr,
            weight_decay=group.weight_decay,
            eps=self.eps,
            maximize=False,
        )
        for state in states:
            state["step"] += 1

    def _muon(self, name: str, param: Tensor, grad: Tensor, lr: float, weight_decay: float) -> Tensor:
        exp_avg = self.state[name]["exp_avg"] if name in self.state else torch.zeros_like(param)
        # of a sharded matrix every process gathers the whole and computes all of its update
        whole = [gathered(tensor) for tensor in (param, grad, exp_avg)]
        new, exp_avg = muon(*whole, lr=lr, momentum=self.momentum, weight_decay=weight_decay)
        if is_shard(param):
            new, exp_avg = as_shard(new, param), as_shard(exp_avg, param)
        self.state[name] = {"exp_avg": exp_avg}
        return new


def _laid_out(tensor: Tensor, param: Tensor, *, copy: bool = False) -> Tensor:
    """Give a tensor the device and the order in memory of its parameter.

    The fused kernel takes all of them for one order, and a weight from a file of GPT-2 lies transposed.
    """
    if not copy and tensor.stride() == param.stride():
        return tensor
    return torch.empty_like(param, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _local(tensor: Tensor) -> Tensor:
    """Return this process's part, in the same memory: AdamW treats every weight by itself."""
    shard: Any = tensor
    return shard.to_local() if is_shard(tensor) else tensor


@torch.no_grad()
def clip_grad_norm_(parameters: Iterable[nn.Parameter], max_norm: float) -> Float[Tensor, ""]:
    r"""Shrink all gradients, in place and by one factor, so that their common norm is at most `max_norm`.

    $g \leftarrow g \cdot \min(1, c / (\lVert g \rVert + 10^{-6}))$ with $\lVert g \rVert$ over all gradients
    as one vector, so the direction of the step stays. Equal to `torch.nn.utils.clip_grad_norm_`.

    Args:
        parameters: Those without a gradient are passed over.
        max_norm: $c$.

    Returns:
        The norm before clipping, 0 without any gradient; not finite if a gradient is not.

    >>> a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    >>> a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    >>> clip_grad_norm_([a, b], 2.5).item(), a.grad.item(), b.grad.item()
    (5.0, 1.5, 2.0)
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.tensor(0.0)
    norm = gathered(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads])))
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        _local(grad).mul_(factor)
    return norm
