"""``llmguide estimate``: the arithmetic of `llmguide.costs` as tables. Presets and shapes need no torch."""

from typing import Literal

import tyro

from llmguide.cli.counts import Count, WholeCount
from llmguide.cli.model_argument import Model
from llmguide.config.presets import PRESETS
from llmguide.costs import linear_layers, memory, scaling_laws
from llmguide.costs.flops import forward_flops_per_token, training_flops
from llmguide.costs.gpus import GPUS, GpuName, cost, gpu_hours
from llmguide.runs.tables import Columns, Table, count, decimal, gigabytes, percentage, show

DESCRIPTION = """\
Compute the cost of a model from its shape. MODEL is a preset (see llmguide estimate presets), a run or a
folder of transformers, its config.json, or a model of the hub, of which only the config is fetched. Without
MODEL, give --n-layers, --d-model, --n-heads and --vocab-size. --json prints the numbers as JSON.

Examples:
  llmguide estimate params gpt2
  llmguide estimate memory Qwen/Qwen2.5-0.5B-Instruct --batch 4
  llmguide estimate optimal 1e24
  llmguide estimate train llama-2-7b --tokens 2e12 --gpu a100 --n-gpus 1024 --price 2
  llmguide estimate memory --n-layers 24 --d-model 2048 --n-heads 16 --vocab-size 50257 --n-gpus 8
  llmguide estimate cache llama-3-8b --tokens 8192 --batch 16 --json"""


def presets(json: bool = False) -> None:
    """List the presets and their shapes.

    Args:
        json: Print JSON instead of a table.
    """
    columns: Columns = {
        "model": str,
        "kind": str,
        "parameters": count,
        "layers": str,
        "width": str,
        "context": str,
    }
    rows = [
        {
            "model": name,
            "kind": config.architecture,
            "parameters": config.n_params(),
            "layers": config.n_layers,
            "width": config.d_model,
            "context": config.context_length,
        }
        for name, config in PRESETS.items()
    ]
    show(Table("presets", columns, rows), as_json=json)


def params(model: Model, json: bool = False) -> None:
    """Count the parameters by part.

    Args:
        model: Preset name, or a shape given by flags.
        json: Print JSON instead of a table.
    """
    config = model.config()
    total = config.n_params()
    parts = {name: n for name, n in config.n_params_by_part().items() if n} | {"total": total}
    rows = [{"part": name, "parameters": n, "fraction": n / total} for name, n in parts.items()]
    active = config.n_active_params()
    notes = [f"A token meets {active:,} of them."] if active < total else []
    columns: Columns = {"part": str, "parameters": "{:,}".format, "fraction": percentage}
    show(Table(f"parameters of {model.name}", columns, rows, notes), as_json=json)


def flops(model: Model, tokens: WholeCount | None = None, json: bool = False) -> None:
    """Count the FLOPs per token, by part.

    Args:
        model: Preset name, or a shape given by flags.
        tokens: Sequence length in tokens; default: the model's context length.
        json: Print JSON instead of a table.
    """
    config = model.config()
    n = config.context_length if tokens is None else tokens
    parts = {name: x for name, x in forward_flops_per_token(config, n).items() if x}
    parts |= {"total": sum(parts.values())}
    rows = [
        {"part": name, "forward": x, "training": 3 * x, "fraction": x / parts["total"]}
        for name, x in parts.items()
    ]
    rule = training_flops(config.n_active_params(), 1)
    notes = [f"Training is forward, and backward at twice that. The rule 6N says {count(rule)}."]
    columns: Columns = {"part": str, "forward": count, "training": count, "fraction": percentage}
    show(
        Table(f"FLOPs a token of {model.name}, {n:,} tokens in sequence", columns, rows, notes), as_json=json
    )


def optimal(budget: tyro.conf.Positional[float], json: bool = False) -> None:
    """Split a compute budget between parameters and tokens, by each published scaling law.

    Args:
        budget: Compute budget in FLOPs, such as 1e21.
        json: Print JSON instead of a table.
    """
    by_ratio = scaling_laws.chinchilla_optimal(budget)
    laws = {
        "Kaplan et al. 2020": scaling_laws.kaplan_optimal(budget),
        **{f"Chinchilla, approach {i}": _tabulated(budget, i) for i in (1, 2, 3)},
        "Chinchilla, 20 tokens a parameter": by_ratio,
        "Besiroglu et al. 2024 (approach 3, refitted)": scaling_laws.parametric_optimal(
            budget, scaling_laws.BESIROGLU
        ),
    }
    rows = []
    for law, found in laws.items():
        n, d = found or (None, None)
        ratio = d / n if n and d else None
        rows.append({"law": law, "parameters": n, "tokens": d, "tokens_per_parameter": ratio})
    columns: Columns = {"law": str, "parameters": count, "tokens": count, "tokens_per_parameter": decimal}
    notes = ["A model that is to be used a lot is better trained smaller and longer: see the guide."]
    if any(found is None for found in laws.values()):
        notes.append("- : outside the table of the paper, about 2e19 to 1e28 FLOPs.")
    show(Table(f"compute-optimal sizes at {budget:.3g} FLOPs", columns, rows, notes), as_json=json)


def train(
    model: Model,
    *,
    tokens: Count,
    params: Count | None = None,
    gpu: GpuName | None = None,
    n_gpus: int = 1,
    utilization: float = 0.4,
    price: float | None = None,
    json: bool = False,
) -> None:
    """Estimate the hours and the cost of a training run.

    Args:
        model: Preset name, or a shape given by flags.
        tokens: Number of tokens to train on, such as 15T or 2e12.
        params: Number of parameters, such as 7B or 7e9, instead of a model.
        gpu: GPU model; default: all known ones.
        n_gpus: Number of GPUs in parallel, at least 1.
        utilization: Fraction of peak FLOP/s that is reached (MFU); large runs report 0.3 to 0.5.
        price: Price of one GPU hour, in any currency.
        json: Print JSON instead of a table.
    """
    if params is not None and model != Model():
        raise ValueError(f"--params {params:g} replaces the model; drop one of the two")
    if n_gpus < 1:
        raise ValueError(f"--n-gpus {n_gpus} must be at least 1")
    n_params = model.config().n_active_params() if params is None else params
    needed = training_flops(n_params, tokens)
    rows = []
    for name in GPUS if gpu is None else [gpu]:
        rate: dict[str, float] = {"peak_flops": GPUS[name].flops, "utilization": utilization}
        hours = gpu_hours(needed, **rate)
        money = None if price is None else cost(needed, price_per_hour=price, **rate)
        rows.append(
            {
                "gpu": name,
                "peak": rate["peak_flops"],
                "gpu_hours": hours,
                "days": hours / n_gpus / 24,
                "cost": money,
            }
        )
    columns: Columns = {
        "gpu": str,
        "peak": lambda x: f"{x / 1e12:,.0f} TFLOP/s",
        "gpu_hours": decimal,
        "days": decimal,
        "cost": decimal,
    }
    work = f"{count(n_params)} parameters, {count(tokens)} tokens"
    title = f"{work}, {n_gpus:,} GPU(s) at {utilization:.0%} of peak"
    notes = [f"6ND = {needed:.3g} FLOPs; attention's scores, restarts and experiments come on top."]
    if price is None:
        notes.append("Give --price for the cost: what an hour of one GPU costs you.")
    show(Table(title, columns, rows, notes), as_json=json)


def train_memory(
    model: Model,
    *,
    n_gpus: int = 1,
    batch: int = 1,
    tokens: WholeCount | None = None,
    recompute: Literal["none", "selective", "full"] = "selective",
    json: bool = False,
) -> None:
    """Estimate the memory of each GPU in training, by ZeRO stage.

    Args:
        model: Preset name, or a shape given by flags.
        n_gpus: Number of GPUs that the state is sharded over.
        batch: Sequences per GPU.
        tokens: Sequence length in tokens; default: the model's context length.
        recompute: Activations that are recomputed in the backward pass; FlashAttention is selective.
        json: Print JSON instead of a table.
    """
    config = model.config()
    n = config.context_length if tokens is None else tokens
    rows = []
    for stage, kind in enumerate(("0, DDP", "1", "2", "3, FSDP")):
        parts = memory.memory_estimate(
            config, n, batch, zero_stage=stage, n_devices=n_gpus, recompute=recompute
        )
        total = sum(parts.values())
        fitting = [(gpu.memory, name) for name, gpu in GPUS.items() if total <= gpu.memory]
        rows.append(
            {
                "stage": kind,
                **parts,
                "total": total,
                "smallest_gpu": min(fitting)[1] if fitting else None,
            }
        )
    sizes = ("weights", "gradients", "optimizer", "activations", "total")
    columns: Columns = {"stage": str, **dict.fromkeys(sizes, gigabytes), "smallest_gpu": str}
    title = (
        f"memory of a GPU: {model.name}, {n_gpus} GPU(s), {batch} x {n:,} tokens each, recompute={recompute}"
    )
    notes = [
        "ZeRO 1 splits the optimizer, 2 also gradients, 3 also weights. Logits and workspace come on top."
    ]
    show(Table(title, columns, rows, notes), as_json=json)


def cache(model: Model, tokens: WholeCount | None = None, batch: int = 1, json: bool = False) -> None:
    """Estimate the KV cache of generation.

    Args:
        model: Preset name, or a shape given by flags.
        tokens: Number of prompt and output tokens together; default: the model's context length.
        batch: Batch size, in sequences.
        json: Print JSON instead of a table.
    """
    config = model.config()
    n = config.context_length if tokens is None else tokens
    rows = []
    for bits in (16, 8):
        each = memory.kv_cache_bytes_per_token(config, bytes_per_value=bits // 8)
        kept = memory.kv_cache_bytes(config, n, batch, bytes_per_value=bits // 8)
        rows.append(
            {"bits": bits, "a_token": each, "all": kept, "beside_weights": kept / (2 * config.n_params())}
        )
    columns: Columns = {"bits": str, "a_token": gigabytes, "all": gigabytes, "beside_weights": percentage}
    notes = [f"Weights in 16 bits: {gigabytes(2 * config.n_params())}."]
    show(Table(f"KV cache of {model.name}: {batch} x {n:,} tokens", columns, rows, notes), as_json=json)


def lora(model: Model, rank: int = 16, targets: tuple[str, ...] | None = None, json: bool = False) -> None:
    """Compare full fine-tuning with LoRA and QLoRA.

    Args:
        model: Preset name, or a shape given by flags.
        rank: Rank of the adapters.
        targets: Matrices that get an adapter, such as q_proj v_proj; default: all matrices of a block.
        json: Print JSON instead of a table.
    """
    config = model.config()
    adapters = linear_layers.lora_params(config, rank, targets)
    state = sum(memory.model_state_bytes(adapters).values())
    total = config.n_params()
    ways = {
        "full": (total, sum(memory.model_state_bytes(total).values())),
        "LoRA": (adapters, 2 * total + state),
        "QLoRA (NF4, double quantization)": (
            adapters,
            linear_layers.quantized_bytes(config, linear_layers.nf4_bits()) + state,
        ),
    }
    rows = [
        {"way": way, "trained": trained, "fraction": trained / total, "memory": size}
        for way, (trained, size) in ways.items()
    ]
    columns: Columns = {"way": str, "trained": count, "fraction": percentage, "memory": gigabytes}
    notes = ["Weights, gradients and Adam's state; activations come on top."]
    show(Table(f"fine-tuning {model.name}, rank {rank}", columns, rows, notes), as_json=json)


COMMAND = {
    "presets": presets,
    "params": params,
    "flops": flops,
    "optimal": optimal,
    "train": train,
    "memory": train_memory,
    "cache": cache,
    "lora": lora,
}


def _tabulated(budget: float, approach: int) -> tuple[float, float] | None:
    try:
        return scaling_laws.tabulated_optimal(budget, approach)
    except ValueError:
        return None
