"""A few steps of every method, as a program: run with PyTorch and with the subset, it should print the same.

Prints one JSON object with the numbers of each run: losses as floats, tokens as integers.
"""

import json
from copy import deepcopy

import torch

from llmguide.config.model_config import ModelConfig
from llmguide.generation.beam_search import beam_search
from llmguide.generation.generate import generate
from llmguide.generation.speculative import speculative_generate
from llmguide.models import build
from llmguide.nn.multi_head_attention import MultiHeadAttention
from llmguide.post_training.adapters.lora import apply_lora, merge_lora
from llmguide.post_training.adapters.quantized_linear import quantize_model
from llmguide.post_training.chat import END, START
from llmguide.post_training.preferences.dpo import dpo_loss, preference_objective
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.rl.grpo import GRPOTrainer
from llmguide.post_training.rl.ppo import PPOTrainer, ValueModel
from llmguide.post_training.sft import finetune
from llmguide.post_training.toy.training import (
    demonstrated,
    fine_tuning,
    grpo_choices,
    ppo_choices,
    preference_data,
    preference_learning,
    score_completions,
    table_reward,
)
from llmguide.post_training.toy.world import completion_logprobs, preferences, tiny_world
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.train import train

SIZES = {"vocab_size": 17, "context_length": 12, "n_layers": 2, "d_model": 24, "n_heads": 4}
GPT = ModelConfig(**SIZES, dropout=0.1, activation="gelu_tanh")
LLAMA = ModelConfig(
    **SIZES,
    n_kv_heads=2,
    positions="rope",
    norm="rmsnorm",
    activation="swiglu",
    bias=False,
    tie_embeddings=False,
)
MIXTURE = ModelConfig(**SIZES, n_experts=4, n_experts_per_token=2, positions="alibi")
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "up", "down"]


def attention():
    """One step of a single layer by hand."""
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(GPT), torch.randn(2, 5, 24)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        out, weights = layer(x, is_causal=True, need_weights=True)
        loss = (out - x).square().mean() + weights.square().sum() / 100
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def pretraining(config, **choices):
    """Train on a repeating text; continue it greedily, by beams and by samples, with cache and without."""
    torch.manual_seed(1)
    model = build(config)
    text = torch.arange(17).repeat(30)
    result = train(model, text, TrainConfig(n_steps=6, context_length=8, batch_size=4, lr=0.01, **choices))
    model.eval()
    prompt = torch.tensor([[1, 2, 3], [7, 8, 9]])
    return {
        "losses": [record.loss for record in result.history],
        "norms": [record.grad_norm for record in result.history],
        "greedy": generate(model, prompt, 6, temperature=0).tolist(),
        "sampled": generate(model, prompt, 6, top_k=9, generator=torch.Generator().manual_seed(3)).tolist(),
        "without cache": generate(model, prompt, 6, temperature=0, use_cache=False).tolist(),
        "beams": beam_search(model, prompt, 4, n_beams=3).tolist(),
    }


def speculation():
    """Let a small model draft for a larger one."""
    torch.manual_seed(2)
    model, draft = build(LLAMA).eval(), build(ModelConfig(**{**SIZES, "n_layers": 1})).eval()
    generator = torch.Generator().manual_seed(4)
    return speculative_generate(model, draft, torch.tensor([[1, 2]]), 8, generator=generator).tolist()


def supervised():
    """Fine-tune on two conversations."""
    tokenizer = Tokenizer.train("what is it? it is a cat. " * 20, 300, special_tokens=[START, END])
    torch.manual_seed(3)
    model = build(ModelConfig(**{**SIZES, "vocab_size": tokenizer.vocab_size, "context_length": 64}))
    talks = [
        [{"role": "user", "content": "what is it?"}, {"role": "assistant", "content": answer}]
        for answer in ("it is a cat.", "a cat")
    ]
    config = TrainConfig(n_steps=4, context_length=64, batch_size=2, lr=0.01)
    return [record.loss for record in finetune(model, talks, tokenizer, config).history]


def after_pretraining():
    """Demonstrations, reward model, PPO, GRPO and DPO, LoRA and NF4 in the tiny world, four steps each."""
    world = tiny_world()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    policy, n = build(world.config), 4
    found = {}
    data = demonstrated(world, 200, generator)
    found["fine-tuning"] = losses(train(policy, data, fine_tuning(n)))
    policy.eval()
    with torch.no_grad():
        reference = completion_logprobs(policy, world)
    found["reference"] = reference[:, :5].tolist()
    pairs = preferences(world, world.gold, reference, 100, generator)
    found["pairs"] = pairs.chosen.tolist() + pairs.rejected.tolist()

    judge = RewardModel(deepcopy(policy))
    compared = preference_data(world, pairs)
    found["reward"] = losses(train(judge, compared, preference_learning(n), loss=preference_loss))
    learned = score_completions(judge, world)
    learned = learned - learned.mean()  # pairs say nothing of the level; rounding alone moves it
    found["scores"] = learned[:, :5].tolist()

    prompts = world.prompts[:, None].tolist()
    trained = deepcopy(policy)
    ppo = PPOTrainer(
        policy=trained,
        value_model=ValueModel(trained),
        reward=table_reward(world, learned),
        reference_model=deepcopy(policy),
        config=ppo_choices(world, n),
    )
    found["PPO"] = [dict(metrics) for metrics in ppo.train(prompts)]
    grpo = GRPOTrainer(
        policy=deepcopy(policy),
        reward=table_reward(world, world.gold),
        config=grpo_choices(world, n),
        reference_model=deepcopy(policy),
    )
    found["GRPO"] = [dict(metrics) for metrics in grpo.train(prompts)]

    data = preference_data(world, pairs).with_reference(policy, batch_size=64)
    objective = preference_objective(dpo_loss)
    found["DPO"] = losses(train(deepcopy(policy), data, preference_learning(n), loss=objective))
    adapted = apply_lora(deepcopy(policy), rank=4, alpha=4, target_modules=LINEAR)
    found["LoRA"] = losses(train(adapted, data, preference_learning(n), loss=objective))
    with torch.no_grad():
        found["merged"] = completion_logprobs(merge_lora(adapted).eval(), world)[:, :5].tolist()
    quantized = quantize_model(deepcopy(policy), LINEAR)
    with torch.no_grad():
        found["NF4"] = completion_logprobs(quantized, world)[:, :5].tolist()
    on_four_bits = apply_lora(quantized, rank=4, alpha=4, target_modules=LINEAR)
    found["QLoRA"] = losses(train(on_four_bits, data, preference_learning(n), loss=objective))
    return found


def losses(result):
    """Of each step."""
    return [record.loss for record in result.history]


if __name__ == "__main__":
    torch.set_num_threads(1)
    runs = {
        "attention": attention(),
        "GPT": pretraining(GPT),
        "GPT, recomputed": pretraining(GPT, activation_checkpointing=True, gradient_accumulation_steps=2),
        "Llama": pretraining(LLAMA),
        "Llama, Muon": pretraining(LLAMA, optimizer="muon"),
        "mixture of experts": pretraining(MIXTURE),
        "speculation": speculation(),
        "supervised": supervised(),
        "after pre-training": after_pretraining(),
    }
    print(json.dumps(runs))
