"""A small model with 4-bit weights and an adapter, which every Python makes alike, and its gradients."""

from functools import partial

import torch

from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.nn.q4 import Q4Embedding, Q4Linear, quantize_q4
from llmguide.post_training.adapters.lora import adapter_state, apply_lora
from llmguide.post_training.preferences.dpo import dpo_loss, preference_objective
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss
from llmguide.training.train import train

CONFIG = ModelConfig(
    vocab_size=96,
    context_length=32,
    n_layers=2,
    d_model=32,
    n_heads=2,
    n_kv_heads=1,
    d_ff=64,
    positions="rope",
    norm="rmsnorm",
    activation="swiglu",
    bias=False,
)
EXAMPLES = [completion([1, 2, 3], [4, 5, 6]), completion([7], [8, 9])]
PAIRS = [PreferencePair(completion([1, 2], [3, 4, 5]), completion([1, 2], [60, 61]))]


def waves(*shape, phase, size=0.3):
    """Numbers without a pattern that a layer could hide, and the same on every machine but for rounding."""
    n = torch.arange(int(torch.tensor(shape).prod()), dtype=torch.float32)
    return (size * torch.sin(n * (1.3 + phase / 7) + phase)).view(*shape)


def small_model():
    """A decoder whose matrices, the tied head included, have 4 bits, with LoRA on all linear layers."""
    model = build(CONFIG).eval()
    names = [name for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blocks")]
    for i, name in enumerate(names):
        rows, columns = model.get_parameter(name).shape
        layer = Q4Linear(*quantize_q4(waves(rows, columns, phase=i)))
        model.set_submodule(name.removesuffix(".weight"), layer)
    correction = Q4Linear(*quantize_q4(waves(10, CONFIG.d_model, phase=2, size=0.01)))
    table = quantize_q4(waves(CONFIG.vocab_size, CONFIG.d_model, phase=5, size=1.0))
    model.head = Q4Linear(*table, correction=correction)
    model.tokens = Q4Embedding(model.head)
    with_adapter(model)
    return model


def with_adapter(model):
    """Add an adapter to the linear layers of all blocks."""
    apply_lora(
        model, rank=2, alpha=4, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate", "up", "down"]
    )
    for i, (_, tensor) in enumerate(adapter_state(model).items()):
        tensor.copy_(waves(*tensor.shape, phase=i, size=0.1))


def gradients(model):
    """The gradients of the losses of fine-tuning and of DPO, by the name of the parameter."""
    found = {}
    pairs = PreferenceDataset(PAIRS, ref_logprobs=torch.tensor([[-9.0, -8.0]]))
    objective = preference_objective(partial(dpo_loss, beta=0.5))
    for kind, loss, data in (("sft", batch_loss, SFTDataset(EXAMPLES)), ("dpo", objective, pairs)):
        model.zero_grad()
        mean, _ = loss(model, data.batch(0, len(data)))
        mean.backward()
        found[kind] = mean.item()
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        found |= {f"{kind} {name}": p.grad.tolist() for name, p in trainable.items()}
    return found


class Stop:
    """A logger that ends a run after a step, as a reader or a closed tab does."""

    def __init__(self, after):
        self.after = after

    def log(self, step, values):
        if step == self.after:
            raise KeyboardInterrupt

    def text(self, step, text):
        pass


def trained(folder=None, stop_after=None):
    """The adapter after six steps, or None of a run that was stopped."""
    model = small_model()
    config = TrainConfig(
        n_steps=6, batch_size=1, lr=1e-2, eps=1e-6, checkpoint_every=1, keep_last=2, log_every=1
    )
    try:
        train(model, SFTDataset(EXAMPLES), config, folder=folder, logger=Stop(stop_after))
    except KeyboardInterrupt:
        return None
    return {name: tensor.tolist() for name, tensor in adapter_state(model).items()}
