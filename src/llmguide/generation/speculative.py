r"""Speculative decoding: a draft model proposes several tokens, the large model verifies them in one pass.

A decoding step spends its time on reading the weights, so checking k drafted tokens takes hardly longer than
producing one. The check keeps the output distribution exactly that of the large model, whatever the draft:
drafted token x is accepted with probability $\min(1, p(x) / q(x))$, and the first rejected one is replaced by
a sample from $\operatorname{norm}(\max(0, p - q))$. Then the probability of each x is

$$q(x) \min\!\left(1, \tfrac{p(x)}{q(x)}\right) + \Bigl(1 - \sum_y \min(p(y), q(y))\Bigr)
\frac{\max(0, p(x) - q(x))}{1 - \sum_y \min(p(y), q(y))} = \min(p, q) + \max(0, p - q) = p(x)$$

References: Leviathan et al. 2022, arXiv:2211.17192, algorithm 1 and appendix A.1; Chen et al. 2023,
arXiv:2302.01318.

Leaves out: batches, repetition penalty, trees of drafts.

Glossary: ``k`` drafted tokens, ``V`` vocabulary, ``p`` distributions of the large model, ``q`` of the draft
model.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.generation.checks import check_request
from llmguide.generation.sampling import Sampler, check_rows
from llmguide.models.decoder_protocol import Decoder
from llmguide.nn.kv_cache import KVCache


def verify(
    drafted: Int[Tensor, " k"],
    q: Float[Tensor, "k V"],
    p: Float[Tensor, "k1 V"],
    generator: torch.Generator | None = None,
) -> tuple[int, int]:
    r"""Accept or reject drafted tokens, and sample the token that follows the accepted ones.

    arXiv:2211.17192, algorithm 1.

    Args:
        drafted: Drafted token ids; each must have been sampled from its row of ``q``.
        q: Probabilities under the draft model, one row for each drafted token.
        p: Probabilities under the large model at the same positions, and at one more after the last.
        generator: Random number generator; None: PyTorch's global one.

    Returns:
        The number of accepted tokens, 0 to k, and the next token.

    >>> q = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    >>> p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> verify(torch.tensor([0, 1]), q, p)  # 0 has p = 1 and stays; 1 has p = 0 and is replaced by 0
    (1, 0)
    >>> verify(torch.tensor([0, 0]), q, p)  # both stay, and the large model adds a third
    (2, 1)
    """
    uniform = torch.rand(len(drafted), generator=generator, device=p.device)
    for i, token in enumerate(drafted.tolist()):
        if uniform[i] * q[i, token] >= p[i, token]:
            rest = (p[i] - q[i]).clamp(min=0)  # all 0 only if p and q differ by rounding
            return i, int(torch.multinomial(rest if rest.any() else p[i], 1, generator=generator))
    return len(drafted), int(torch.multinomial(p[-1], 1, generator=generator))


def speculative_generate(
    model: Decoder,
    draft: Decoder,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    n_draft: int = 4,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    eos_id: int | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "B T_out"]:
    """Generate a completion with the distribution of the large model, or its greedy text at temperature 0.

    Args:
        model: The large model, a decoder in evaluation mode.
        draft: The small model, a decoder with the same vocabulary.
        ids: Token ids of one prompt, ``B`` = 1.
        max_new_tokens: Largest number of tokens to add, 0 or more.
        n_draft: Number of tokens to draft before each verification, at least 1.
        temperature: Sampling temperature, 0 or above. Both models are filtered alike.
        top_k: Number of most likely tokens to sample from; None: all.
        top_p: Probability of the nucleus to sample from, in (0, 1]; None: all tokens.
        min_p: Smallest probability to sample, as a fraction of the largest, in [0, 1]; None: no limit.
        eos_id: End-of-text token, which ends the text.
        generator: Random number generator; None: PyTorch's global one.

    Returns:
        Prompt and completion.

    Raises:
        ValueError: A request is invalid as in `llmguide.generation.generate.generate`, there are several
            prompts, the vocabularies differ, or logits are NaN or infinite.

    >>> from llmguide import ModelConfig, build, generate, speculative_generate
    >>> config = ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3)
    >>> model, draft = build(config).eval(), build(config).eval()
    >>> ids = torch.tensor([[1, 2]])
    >>> found = speculative_generate(model, draft, ids, 5, temperature=0.0)
    >>> torch.equal(found, generate(model, ids, 5, temperature=0.0))
    True
    """
    for one in (model, draft):
        check_request(one, ids, max_new_tokens, eos_id=eos_id)
    if len(ids) != 1 or n_draft < 1:
        raise ValueError(f"got {len(ids)} prompts and n_draft={n_draft}; use one and at least 1")
    if model.config.vocab_size != draft.config.vocab_size:
        raise ValueError(
            f"the model has {model.config.vocab_size} tokens and the draft {draft.config.vocab_size}: "
            "take a draft with the same tokenizer"
        )
    sampler = Sampler(temperature, top_k, top_p, min_p)
    # without a window, so that rejected tokens can always be cropped; attention applies the window itself
    caches = [KVCache(one.config.n_layers, capacity=ids.shape[1] + max_new_tokens) for one in (model, draft)]

    @torch.inference_mode()
    def distributions(one: Decoder, cache: KVCache, text: Tensor, n: int) -> Tensor:
        """Compute the filtered distributions (n, V) after each of the last n tokens of the text."""
        hidden = one.hidden(text[:, cache.length :], cache=cache)[0, -n:]
        logits = sampler.filter(one.unembed(hidden).float(), text.expand(n, -1))
        check_rows(logits)
        return logits.softmax(dim=-1)

    text, end = ids, ids.shape[1] + max_new_tokens
    while text.shape[1] < end:
        n = text.shape[1]
        q: list[Tensor] = []
        guess = text
        for _ in range(min(n_draft, end - n - 1)):  # the verification itself adds one more token
            q.append(distributions(draft, caches[1], guess, 1))
            guess = torch.cat([guess, torch.multinomial(q[-1], 1, generator=generator)], dim=1)
        p = distributions(model, caches[0], guess, len(q) + 1)
        kept, token = verify(guess[0, n:], torch.cat(q) if q else p[:0], p, generator)
        text = torch.cat([guess[:, : n + kept], ids.new_tensor([[token]])], dim=1)
        for cache in caches:
            cache.crop(min(cache.length, n + kept))
        if eos_id is not None and eos_id in (new := text[0, n:].tolist()):
            text = text[:, : n + new.index(eos_id) + 1]
            break
    return text
