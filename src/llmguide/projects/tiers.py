"""Estimate what the larger runs of the project pages need: memory, GPU-hours and money.

None of these runs was made. The tables of the pages show the estimates; ``docs/projects/index.md`` says how
they are computed.
"""

from typing import Any, NamedTuple

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.costs.flops import training_flops
from llmguide.costs.gpus import GPUS, cost, gpu_hours
from llmguide.costs.linear_layers import lora_params
from llmguide.costs.memory import activation_bytes, model_state_bytes
from llmguide.projects.training import small_decoder

GPU, UTILIZATION, PRICE = "a100", 0.4, 2.0  # as in docs/learn/pretraining/scale.md
EXAMPLES = 10_000  # of data that are the reader's own

_LLAMA: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False}
# the released configurations of SmolLM2-360M and Qwen2.5-Coder-1.5B
SMOLLM2_360M = ModelConfig(
    vocab_size=49_152,
    context_length=8192,
    n_layers=32,
    d_model=960,
    n_heads=15,
    n_kv_heads=5,
    d_ff=2560,
    **_LLAMA,
)
QWEN_CODER_1_5B = ModelConfig(
    vocab_size=151_936,
    context_length=32_768,
    n_layers=28,
    d_model=1536,
    n_heads=12,
    n_kv_heads=2,
    d_ff=8960,
    qkv_bias=True,
    **_LLAMA,
)
QWEN_7B = ModelConfig(
    vocab_size=152_064,
    context_length=32_768,
    n_layers=28,
    d_model=3584,
    n_heads=28,
    n_kv_heads=4,
    d_ff=18_944,
    qkv_bias=True,
    tie_embeddings=False,
    **_LLAMA,
)
LLAMA_8B, LLAMA_70B, GPT_2 = PRESETS["llama-3.1-8b"], PRESETS["llama-3-70b"], PRESETS["gpt2"]


class Tier(NamedTuple):
    """A run: the model, the tokens that it trains on at most, and what one GPU holds.

    Attributes:
        config: Sizes of the model.
        n_tokens: Training tokens, all passes together.
        batch: Sequences on one GPU at a time.
        length: Tokens of a sequence.
        n_gpus: Number of GPUs, each with a copy of the model.
        rank: Rank of adapters in all linear layers; None: all weights are trained.
        n_frozen: Number of further models of this size in memory, such as a reference and a reward model.
        n_passes: Number of forward passes per token besides the training, such as generation.
    """

    config: ModelConfig
    n_tokens: float
    batch: int
    length: int
    n_gpus: int = 1
    rank: int | None = None
    n_frozen: int = 0
    n_passes: int = 0


# by page and tier; several trainings that follow each other
TIERS: dict[str, tuple[Tier, ...]] = {
    "character-model": (
        Tier(small_decoder(65, 256, n_layers=6, d_model=384, n_heads=6), 5000 * 64 * 256, 64, 256),
    ),
    "continued-pretraining": (
        Tier(GPT_2, 20_000 * 16 * 1024, 16, 1024),
        Tier(GPT_2, 5000 * 128 * 1024, 16, 1024),
    ),
    "continued-pretraining, cluster": (Tier(GPT_2, 5000 * 128 * 1024, 16, 1024, n_gpus=8),),
    "small-lm": tuple(
        Tier(
            small_decoder(32_768, 1024, n_layers=n, d_model=d, n_heads=d // 64), 20_000 * 32 * 1024, 32, 1024
        )
        for n, d in ((4, 256), (6, 384), (8, 512), (12, 768))
    ),
    "small-lm, cluster": (Tier(GPT_2, 19_000 * 512 * 1024, 16, 1024, n_gpus=32),),
    # two tasks, each with all weights and with three ranks
    "fine-tuning": (
        *[Tier(SMOLLM2_360M, 2000 * 16 * 512, 16, 512)] * 2,
        *[Tier(SMOLLM2_360M, 2000 * 16 * 512, 16, 512, rank=rank) for rank in (1, 8, 64)] * 2,
    ),
    "fine-tuning, cluster": (Tier(LLAMA_8B, 3 * EXAMPLES * 2048, 2, 2048, n_gpus=8, rank=16),),
    # four conditions with adapters, one with all weights
    "instruction-tuning": (
        *[Tier(SMOLLM2_360M, 2000 * 8 * 1024, 8, 1024, rank=16)] * 4,
        Tier(SMOLLM2_360M, 2000 * 8 * 1024, 8, 1024),
    ),
    "instruction-tuning, cluster": (Tier(LLAMA_8B, 1e9, 2, 4096, n_gpus=8, rank=16),),
    "domain-expert": (
        Tier(small_decoder(8192, 64, n_layers=12, d_model=768, n_heads=12), 6000 * 128 * 64, 128, 64),
        *[Tier(small_decoder(8192, 64, n_layers=12, d_model=768, n_heads=12), 2000 * 72 * 64, 72, 64)] * 3,
    ),
    "domain-expert, cluster": (Tier(LLAMA_8B, 3 * EXAMPLES * 512, 2, 512, n_gpus=8, rank=16),),
    "reward-model": (Tier(SMOLLM2_360M, 2 * 160_800 * 512, 64, 512, rank=16),),
    "reward-model, cluster": (Tier(LLAMA_8B, 2 * 160_800 * 1024, 8, 1024, n_gpus=8, rank=16),),
    # fine-tuning, a reward model, and 200 rollouts of 16 answers: generation, and four epochs
    "rlhf": (
        Tier(SMOLLM2_360M, 3 * EXAMPLES * 256, 16, 256),
        Tier(SMOLLM2_360M, 2 * 160_800 * 512, 64, 512),
        Tier(SMOLLM2_360M, 4 * 200 * 16 * 256, 16, 256, rank=16, n_frozen=1, n_passes=1),
    ),
    "rlhf, cluster": (Tier(LLAMA_8B, 4 * 200 * 16 * 512, 2, 512, n_gpus=8, rank=16, n_frozen=1, n_passes=1),),
    # demonstrations, revisions, DPO, a reward model, PPO
    "constitutional-ai": (
        Tier(SMOLLM2_360M, 720 * 32 * 256, 32, 256),
        Tier(SMOLLM2_360M, 120 * 64 * 256, 64, 256, n_frozen=1, n_passes=1),
        Tier(SMOLLM2_360M, 120 * 64 * 256, 64, 256),
        Tier(SMOLLM2_360M, 4 * 120 * 64 * 256, 32, 256, n_frozen=2, n_passes=1),
    ),
    "constitutional-ai, cluster": (
        Tier(LLAMA_8B, 3 * EXAMPLES * 256, 2, 256, n_gpus=8, rank=16),
        Tier(LLAMA_8B, 2 * EXAMPLES * 256, 8, 256, n_gpus=8, rank=16, n_passes=1),
    ),
    "code-assistant": (
        Tier(small_decoder(16_384, 1024, n_layers=12, d_model=512, n_heads=8), 20_000 * 32 * 1024, 32, 1024),
    ),
    "code-assistant, a code model": (
        Tier(QWEN_CODER_1_5B, 3 * EXAMPLES * 256, 16, 256, rank=16),
        Tier(QWEN_CODER_1_5B, 2 * EXAMPLES * 256, 64, 256, rank=16, n_passes=1),
    ),
    "code-assistant, cluster": (
        Tier(PRESETS["llama-2-7b"], 2 * EXAMPLES * 256, 8, 256, n_gpus=8, rank=16, n_passes=1),
    ),
    "creative-writing": (
        Tier(small_decoder(16_384, 512, n_layers=8, d_model=512, n_heads=8), 25_000 * 64 * 512, 64, 512),
    ),
}


def memory(tier: Tier) -> float:
    """Compute the bytes on each GPU: 16 for a trained parameter, 4 for a frozen one, and activations."""
    n_params = tier.config.n_params()
    trained = n_params if tier.rank is None else lora_params(tier.config, tier.rank)
    frozen = tier.n_frozen * n_params + (0 if tier.rank is None else n_params)
    activations = activation_bytes(tier.config, tier.length, tier.batch, recompute="selective")
    return sum(model_state_bytes(trained).values()) + 4 * frozen + activations


def flops(tier: Tier) -> float:
    """Compute the FLOPs of a run: 6 per parameter and token, 4 with frozen weights, 2 for a forward pass."""
    full = training_flops(tier.config.n_params(), tier.n_tokens)
    return full * ((1 if tier.rank is None else 4 / 6) + tier.n_passes * 2 / 6)


def estimate(name: str) -> str:
    """Write what a tier needs, for its row in the table of a page.

    Args:
        name: Key of `TIERS`.

    >>> estimate("small-lm, cluster")  # time: 6 x 124e6 x 9.96e9 / (0.4 x 312e12) s
    '7 GB on each of 32 GPUs, 17 GPU-hours, $33'
    """
    tiers = TIERS[name]
    needed, rate = sum(map(flops, tiers)), {"peak_flops": GPUS[GPU].flops, "utilization": UTILIZATION}
    hours, money = gpu_hours(needed, **rate), cost(needed, price_per_hour=PRICE, **rate)
    each = f" on each of {tiers[0].n_gpus} GPUs" if tiers[0].n_gpus > 1 else ""
    price = f"${money:.2f}" if money < 10 else f"${money:.0f}"
    return f"{max(map(memory, tiers)) / 1e9:.0f} GB{each}, {hours:.2g} GPU-hours, {price}"


def weights(config: ModelConfig) -> str:
    """Write what serving a model needs at least.

    Args:
        config: Sizes of the model.

    >>> weights(QWEN_7B)
    '15 GB for the weights in 16 bits'
    """
    return f"{2 * config.n_params() / 1e9:,.0f} GB for the weights in 16 bits"
