"""TRL's trainers on a tiny GPT-2 with lively weights, without a network; each is built once a session."""

import os
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import datasets
import tokenizers
import torch
import transformers
import trl
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from llmguide.models import from_hf, to_hf
from llmguide.post_training.preferences.pairs import PreferenceBatch

datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

END = "<|endoftext|>"
TEXT = "the quick brown fox jumps over the lazy dog and the slow red hen sits under a busy cat"
TRAINERS: dict[str, tuple[Any, Any]] = {
    "sft": (trl.SFTTrainer, trl.SFTConfig),
    "dpo": (trl.DPOTrainer, trl.DPOConfig),
    "kto": (trl.KTOTrainer, trl.KTOConfig),
    "orpo": (ORPOTrainer, ORPOConfig),
    "cpo": (CPOTrainer, CPOConfig),
}
PROMPTS = ["the quick", "a busy cat", "under", "the slow red hen"]
CHOSEN = [" brown fox", " sits under the lazy dog", " a fox jumps over", " and"]
REJECTED = [" dog", " and the", " the hen and the cat", " jumps over the lazy dog"]


@cache
def folder() -> str:
    """Save a tokenizer, a policy and a reference; TRL loads offline only what was saved."""
    path = Path(mkdtemp(prefix="llmguide-trl-"))
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    model.train_from_iterator([TEXT], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token=END, eos_token=END, pad_token=END
    )
    config = transformers.GPT2Config(
        n_layer=2, n_head=3, n_embd=24, n_positions=64, vocab_size=len(tokenizer), bos_token_id=0,
        eos_token_id=tokenizer.eos_token_id, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    for seed, name in enumerate(("policy", "reference")):
        torch.manual_seed(seed)
        gpt2 = transformers.GPT2LMHeadModel(config)
        with torch.no_grad():
            for parameter in gpt2.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        gpt2.save_pretrained(path / name)
        tokenizer.save_pretrained(path / name)
    return str(path)


def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(f"{folder()}/policy")


def model(name: str) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(f"{folder()}/{name}").eval()


@cache
def _columns(kind: str) -> dict[str, list[Any]]:
    if kind == "sft":
        return {"prompt": PROMPTS, "completion": CHOSEN}
    if kind == "kto":
        answers = [[*a] for a in zip(PROMPTS * 2, CHOSEN + REJECTED, strict=True)]
        prompts, completions = map(list, zip(*answers, strict=True))
        return {"prompt": prompts, "completion": completions, "label": [True] * 4 + [False] * 4}
    return {"prompt": PROMPTS, "chosen": CHOSEN, "rejected": REJECTED}


def trainer(kind: str, **options: Any) -> Any:
    """Build a trainer whose policy and reference are those of `model`."""
    make, config = TRAINERS[kind]
    size = 8 if kind == "kto" else 4
    arguments = config(
        output_dir=f"{folder()}/run", report_to="none", per_device_train_batch_size=size, use_cpu=True,
        bf16=False, gradient_checkpointing=False, disable_tqdm=True, **options,
    )  # fmt: skip
    extra = {"ref_model": model("reference")} if kind in ("dpo", "kto") else {}
    return make(
        model=model("policy"),
        args=arguments,
        train_dataset=datasets.Dataset.from_dict(_columns(kind)),
        processing_class=tokenizer(),
        **extra,
    )


def batch(peer: Any) -> dict[str, Any]:
    return peer._prepare_inputs(next(iter(peer.get_train_dataloader())))


def loss_and_gradients(peer: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    peer.model.zero_grad()
    loss = peer.compute_loss(peer.model, dict(inputs))
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in peer.model.named_parameters()}


def ours(name: str) -> Any:
    """Load the policy or the reference as a model of llmguide."""
    return from_hf(model(name))


def as_hf_gradients(ours: Any) -> dict[str, torch.Tensor]:
    """Convert the gradients of one of our models as if they were weights, to transformers' names."""
    gradients = deepcopy(ours)
    for mine, theirs in zip(gradients.parameters(), ours.parameters(), strict=True):
        mine.data = theirs.grad
    return to_hf(gradients).state_dict()


def rows(ids: torch.Tensor, completion_mask: torch.Tensor) -> PreferenceBatch:
    """Turn TRL's ids and mask into a batch of ours."""
    return PreferenceBatch(
        ids, torch.ones_like(ids).bool(), completion_mask.bool(), torch.zeros(len(ids) // 2)
    )
