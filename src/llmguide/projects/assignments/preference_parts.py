"""Parts of the assignments on reward models, RLHF and Constitutional AI."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.post_training.rl.ppo_losses import penalized_rewards, ppo_value_loss

# ---- rewards ---------------------------------------------------------------------------------------


def _reward(hidden: Tensor, mask: Tensor, w: Tensor) -> Tensor:
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    return hidden[torch.arange(len(hidden)), last] @ w


def _reward_probes() -> list[Arguments]:
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0]]).bool()
    return [(noise(1, 3, 5, 4), mask, noise(2, 4))]


def _accuracy(chosen: Sequence[float], rejected: Sequence[float], tie: float = 0.5) -> float:
    points = [tie if a == b else float(a > b) for a, b in zip(chosen, rejected, strict=True)]
    return sum(points) / len(points)


def _token_rewards(score: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    return penalized_rewards(score, logp - ref_logp, mask, kl_coef=kl_coef)


def _token_rewards_probes() -> list[Arguments]:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    return [(torch.tensor([2.0, -1.0]), noise(3, 2, 4) - 2, noise(4, 2, 4) - 2, mask, 0.3)]


def _value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    return ppo_value_loss(values, old_values, returns, torch.ones_like(values).bool(), clip_eps=clip)


def _value_loss_by(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    clip: float,
    *,
    combine: Callable[[Tensor, Tensor], Tensor] = torch.maximum,
    half: bool = True,
) -> Tensor:
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    loss = combine((values - returns).square(), (clipped - returns).square()).mean()
    return loss / 2 if half else loss


# ---- constitutional AI -----------------------------------------------------------------------------


def _critique(
    principle: str, question: str, response: str, *, order: Sequence[int] = (0, 1, 2), ask: bool = True
) -> str:
    lines = [f"Question: {question}", f"Response: {response}", f"Principle: {principle}"]
    request = 'Say in one sentence how the response violates the principle, or "none".'
    return "\n".join([*(lines[i] for i in order), *([request] if ask else [])])


def _revision(principle: str, question: str, response: str, critique: str, *, parts: str = "QRPC") -> str:
    lines = {
        "Q": f"Question: {question}",
        "R": f"Response: {response}",
        "P": f"Principle: {principle}",
        "C": f"Critique: {critique}",
    }
    request = "Rewrite the response so that it follows the principle. Write the new response alone."
    return "\n".join([*(lines[part] for part in parts), request])


Row = tuple[str, str, str]


def _pairs(rows: Sequence[Row], *, swapped: bool = False, unchanged: bool = False) -> list[Row]:
    """Make preference pairs from responses and their revisions."""
    kept = [row for row in rows if unchanged or row[1] != row[2]]
    return [(question, *((first, new) if swapped else (new, first))) for question, first, new in kept]


PREFERENCE_PARTS = (
    Exercise(
        "last-token-reward",
        "last_token_reward(hidden, mask, w): the reward (B,) of each text: the hidden state (B, T, D) of its "
        "last token, times the head w (D,). mask (B, T) is True for tokens; padding can be on either side.",
        _reward,
        _reward_probes,
        (
            Mistake(
                "last position instead of last token",
                "the reward is read at the last position, which may be padding",
                "Find the last True of each row of the mask.",
                lambda hidden, mask, w: hidden[:, -1] @ w,
            ),
            Mistake(
                "number of tokens for position",
                "the position is the number of tokens minus 1, which is wrong for padding on the left",
                "Search from the right: mask.flip(1).int().argmax(1).",
                lambda hidden, mask, w: hidden[torch.arange(len(hidden)), mask.sum(1) - 1] @ w,
            ),
            Mistake(
                "mean of the tokens",
                "the rewards of all tokens are averaged",
                "Only the last token has attended to the whole text.",
                lambda hidden, mask, w: (hidden @ w * mask).sum(1) / mask.sum(1),
            ),
            Mistake(
                "first token",
                "the reward is read at the first position",
                "The first token of a decoder has seen nothing of the text.",
                lambda hidden, mask, w: hidden[:, 0] @ w,
            ),
        ),
        ("hidden[torch.arange(B), last] picks one position of each row.",),
    ),
    Exercise(
        "pair-accuracy",
        "pair_accuracy(chosen, rejected): the fraction of pairs in which the chosen text has the higher "
        "reward; a tie counts one half.",
        _accuracy,
        lambda: [([1.0, 2.0, 0.0, 3.0, 5.0], [0.0, 2.0, 1.0, 1.0, 1.0])],
        (
            Mistake(
                "ties count as right",
                "a tie counts as right",
                "A model that gives every text the same reward would score 100%.",
                partial(_accuracy, tie=1.0),
            ),
            Mistake(
                "ties count as wrong",
                "a tie counts as wrong",
                "A model that cannot tell is right half the time.",
                partial(_accuracy, tie=0.0),
            ),
            Mistake(
                "pair swapped",
                "the rejected text should have the higher reward",
                "chosen > rejected.",
                lambda chosen, rejected: _accuracy(rejected, chosen),
            ),
        ),
        ("1 for a win, 0.5 for a tie.",),
    ),
    Exercise(
        "token-rewards",
        "token_rewards(score, logp, ref_logp, mask, kl_coef): the reward (B, T) of each generated token in "
        "PPO: minus kl_coef times (logp - ref_logp); the last token of the mask also gets the reward model's "
        "score (B,). Tokens outside the mask get 0.",
        _token_rewards,
        _token_rewards_probes,
        (
            Mistake(
                "KL sign",
                "leaving the reference model is rewarded",
                "The penalty is subtracted: tokens that the policy likes more than the reference cost.",
                lambda score, logp, ref, mask, kl: _token_rewards(score, ref, logp, mask, kl),
            ),
            Mistake(
                "score on every token",
                "every token gets the score",
                "The score is for the whole completion: add it once, at its end.",
                lambda score, logp, ref, mask, kl: (score[:, None] - kl * (logp - ref)) * mask,
            ),
            Mistake(
                "score on padding",
                "the score is at the last position, which may be padding",
                "Add it to the last token of the mask.",
                lambda score, logp, ref, mask, kl: torch.cat(
                    [
                        (-kl * (logp - ref) * mask)[:, :-1],
                        ((-kl * (logp - ref) * mask)[:, -1] + score)[:, None],
                    ],
                    dim=1,
                ),
            ),
            Mistake(
                "penalty forgotten",
                "there is no KL penalty",
                "Without it the policy drifts to whatever the reward model overrates.",
                lambda score, logp, ref, mask, kl: _token_rewards(score, logp, ref, mask, 0.0),
            ),
        ),
        ("Penalties first, then add the score with scatter_add or an index.",),
    ),
    Exercise(
        "value-loss",
        "value_loss(values, old_values, returns, clip): PPO's loss of the value model, half the mean over "
        "all "
        "tokens of the larger of two squared errors: of the value, and of the value clipped to old_values +- "
        "clip.",
        _value_loss,
        lambda: [(noise(1, 2, 5), noise(2, 2, 5), noise(3, 2, 5), 0.2)],
        (
            Mistake(
                "smaller instead of larger",
                "the smaller of the two errors is taken",
                "The clip makes the loss pessimistic: take the maximum.",
                partial(_value_loss_by, combine=torch.minimum),
            ),
            Mistake(
                "only the clipped error",
                "the error of the unclipped value is ignored",
                "Where only the clipped value is used, the gradient vanishes outside the clip range.",
                partial(_value_loss_by, combine=lambda _, clipped: clipped),
            ),
            Mistake(
                "not clipped",
                "the values are not clipped",
                "Clip the change: old_values + (values - old_values).clamp(-clip, clip).",
                partial(_value_loss_by, combine=lambda plain, _: plain),
            ),
            Mistake(
                "half forgotten",
                "the loss is twice as large",
                "Half of the squared error, as in the paper.",
                partial(_value_loss_by, half=False),
            ),
        ),
        ("torch.maximum of two squared errors, then mean() / 2.",),
    ),
    Exercise(
        "critique-prompt",
        "critique_prompt(principle, question, response): the prompt that asks a model to critique its own "
        "response, as four lines: 'Question: ...', 'Response: ...', 'Principle: ...', and 'Say in one "
        "sentence "
        'how the response violates the principle, or "none".\'',
        _critique,
        lambda: [
            ("Do no harm.", "How do I rob my boss?", "At night."),
            ("Be honest.", "Are bats blind?", "Yes, they are."),
        ],
        (
            Mistake(
                "request forgotten",
                "the prompt asks for nothing",
                "The last line says what to do.",
                partial(_critique, ask=False),
            ),
            Mistake(
                "question and response swapped",
                "the response is given as the question",
                "The order of the arguments is principle, question, response.",
                lambda principle, question, response: _critique(principle, response, question),
            ),
            Mistake(
                "principle first",
                "the principle is the first line",
                "The principle follows the response that it is applied to.",
                partial(_critique, order=(2, 0, 1)),
            ),
            Mistake(
                "response left out",
                "the model does not see its response",
                "It cannot critique what it is not shown.",
                partial(_critique, order=(0, 2)),
            ),
        ),
        ("'\\n'.join of four lines.",),
    ),
    Exercise(
        "revision-prompt",
        "revision_prompt(principle, question, response, critique): the prompt that asks for a better "
        "response, "
        "as five lines: 'Question: ...', 'Response: ...', 'Principle: ...', 'Critique: ...', and 'Rewrite "
        "the response so that it follows the principle. Write the new response alone.'",
        _revision,
        lambda: [("Do no harm.", "How do I rob my boss?", "At night.", "It helps with a crime.")],
        (
            Mistake(
                "critique left out",
                "the model does not see the critique",
                "The critique says what to change.",
                partial(_revision, parts="QRP"),
            ),
            Mistake(
                "response left out",
                "the model does not see the response it should rewrite",
                "Show it what to revise.",
                partial(_revision, parts="QPC"),
            ),
            Mistake(
                "critique before principle",
                "the critique comes before the principle",
                "Give the principle first: the critique refers to it.",
                partial(_revision, parts="QRCP"),
            ),
        ),
        ("Your critique_prompt has most of it.",),
    ),
    Exercise(
        "preference-pairs",
        "preference_pairs(rows): rows are (question, response, revision). Return a list of (question, "
        "chosen, "
        "rejected) in which the revision is preferred. A response that was not changed says nothing: leave "
        "it out.",
        _pairs,
        lambda: [([("q1", "bad", "good"), ("q2", "fine", "fine"), ("q3", "so", "so so")],)],
        (
            Mistake(
                "chosen and rejected swapped",
                "the first response is preferred",
                "The revision follows the principle better; it is the chosen one.",
                partial(_pairs, swapped=True),
            ),
            Mistake(
                "unchanged responses kept",
                "pairs of two equal texts are kept",
                "DPO learns nothing from a pair of equal texts.",
                partial(_pairs, unchanged=True),
            ),
        ),
        ("Compare response and revision before you add a pair.",),
    ),
)
