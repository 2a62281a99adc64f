"""DPO with a fine-tuning loss on the chosen completions, which keeps them likely."""

from typing import Any

from torch import Tensor

from llmguide.post_training.preferences.dpo import dpo_loss
from llmguide.post_training.preferences.pairs import PreferenceBatch, pair_logprobs


def anchored_dpo(model: Any, batch: PreferenceBatch, *, beta: float, anchor: float) -> tuple[Tensor, int]:
    """Compute the DPO loss plus the fine-tuning loss on the chosen completions.

    DPO increases a margin, which also grows if the log-probabilities of chosen completions fall and those of
    rejected ones fall more. The second term keeps the chosen completions likely (Llama 3, arXiv:2407.21783,
    section 4.1.4).

    Args:
        model: Policy to train.
        batch: Preference pairs with the log-probabilities of the reference model.
        beta: KL coefficient of DPO.
        anchor: Weight of the second term, the mean loss over tokens.

    Returns:
        The loss and the number of pairs.
    """
    ref_logprobs: Any = batch.ref_logprobs
    logprobs, n_tokens = pair_logprobs(model, batch)
    (chosen, rejected), (n_chosen, _) = logprobs.chunk(2), n_tokens.chunk(2)
    preferred = dpo_loss(chosen, rejected, *ref_logprobs.chunk(2), beta=beta).loss
    return preferred - anchor * chosen.sum() / n_chosen.sum(), len(chosen)
