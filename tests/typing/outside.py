"""A program of somebody else, written against the public names alone. Strict mypy and pyright accept it."""
# mypy: untyped-calls-exclude=torch
# torch.Tensor.backward has no types.

from copy import deepcopy

import torch
from torch import Tensor, nn

from llmguide import (
    ModelConfig,
    Tokenizer,
    TrainConfig,
    apply_lora,
    build,
    dpo_loss,
    generate,
    merge_lora,
    min_p,
    perplexity,
    repetition_penalty,
    sample,
    sequence_logprob,
    sft_loss,
    temperature,
    train,
)

TEXT = "the cat sat on the mat. the dog sat on the log. " * 40


def train_on_own_text(text: str) -> tuple[nn.Module, Tokenizer]:
    """A tokenizer, a model and a short training run."""
    tokenizer = Tokenizer.train(text, 270)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, context_length=32, n_layers=1, d_model=32, n_heads=2
    )
    model = build(config)
    result = train(model, torch.tensor(tokenizer.encode(text)), TrainConfig(n_steps=20, context_length=16))
    assert result.loss < result.history[0].loss
    return model.eval(), tokenizer


def perplexity_of_own_text(model: nn.Module, tokenizer: Tokenizer, text: str) -> float:
    """How well the model predicts a text."""
    return perplexity(model, torch.tensor(tokenizer.encode(text)))


def sample_with_a_filter_of_my_own(model: nn.Module, ids: Tensor, n_tokens: int) -> Tensor:
    """A loop in which the filters of the package stand beside one that forbids token 0."""
    for _ in range(n_tokens):
        logits: Tensor = model(ids)[:, -1]
        logits[:, 0] = -torch.inf
        logits = repetition_penalty(logits, ids, 1.1)
        ids = torch.cat([ids, sample(min_p(temperature(logits, 0.8), 0.05))[:, None]], dim=1)
    return ids


def prefer(policy: nn.Module, chosen: Tensor, rejected: Tensor, n_steps: int) -> list[float]:
    """Preference optimization in a loop of my own."""
    reference = deepcopy(policy).requires_grad_(False)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)

    def logprob(model: nn.Module, ids: Tensor) -> Tensor:
        logits: Tensor = model(ids[:, :-1])
        return sequence_logprob(logits, ids[:, 1:])

    losses: list[float] = []
    for _ in range(n_steps):
        found = dpo_loss(
            logprob(policy, chosen),
            logprob(policy, rejected),
            logprob(reference, chosen),
            logprob(reference, rejected),
            beta=0.5,
        )
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
        losses.append(found.loss.item())
    return losses


def adapt(model: nn.Module, ids: Tensor, n_steps: int) -> nn.Module:
    """LoRA with the loss of supervised fine-tuning."""
    adapted = apply_lora(model, rank=2, alpha=4.0, target_modules=["q_proj", "v_proj"])
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = sft_loss(adapted(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        optimizer.step()
    return merge_lora(adapted)


def main() -> None:
    """Do it all."""
    torch.manual_seed(0)
    model, tokenizer = train_on_own_text(TEXT)
    assert 1 < perplexity_of_own_text(model, tokenizer, TEXT) < tokenizer.vocab_size

    prompt = torch.tensor([tokenizer.encode("the cat")])
    assert 0 not in sample_with_a_filter_of_my_own(model, prompt, 8)[0, prompt.shape[1] :]
    ids = [int(token) for token in generate(model, prompt, 8, top_k=5)[0]]
    assert tokenizer.decode(ids).startswith("the cat")

    chosen, rejected = (torch.tensor([tokenizer.encode(text)]) for text in ("the cat sat", "the log ran"))
    losses = prefer(model, chosen, rejected, 5)
    assert losses[-1] < losses[0]

    before = model(prompt)
    assert not torch.equal(adapt(model, chosen, 3)(prompt), before)


if __name__ == "__main__":
    main()
