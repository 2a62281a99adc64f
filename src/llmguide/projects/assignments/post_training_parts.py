"""Parts of the post-training assignments that no chapter has as an exercise."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.post_training.rl.ppo_losses import penalized_rewards, ppo_value_loss

# ---- fine-tuning -----------------------------------------------------------------------------------


def _merge(W: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    return W + alpha / len(A) * B @ A


def _best_step(losses: Sequence[float], patience: int, *, reset: bool = True, best: bool = True) -> int:
    """Find the checkpoint that early stopping restores, with switches for the mistakes."""
    lowest, waited, i = 0, 0, 0
    for i, loss in enumerate(losses[1:], 1):
        if loss < losses[lowest]:
            lowest, waited = i, waited * (not reset)
        else:
            waited += 1
        if waited >= patience:
            break
    return lowest if best else i


def _mixing_rates(sizes: Sequence[int], temperature: float) -> list[float]:
    powers = [size ** (1 / temperature) for size in sizes]
    return [power / sum(powers) for power in powers]


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


# ---- a domain expert -------------------------------------------------------------------------------

UNKNOWN = "I do not know."


def _rates(
    answers: Sequence[str], correct: Sequence[str | None], *, over: bool = True, known_only: bool = True
) -> tuple[float, float, float]:
    """Measure accuracy, over-refusal and abstention, with switches for the mistakes."""
    rows = list(zip(answers, correct, strict=True))
    known = [(a, c) for a, c in rows if c is not None]
    unknown = [a for a, c in rows if c is None]
    n = len(known) if known_only else len(rows)
    accuracy = sum(a == c for a, c in known) / n
    refused = sum(a == UNKNOWN for a, _ in known) / n
    abstained = sum(a == UNKNOWN for a in unknown) / (len(unknown) if known_only else n)
    return (accuracy, refused, abstained) if over else (accuracy, abstained, refused)


def _easy_first(examples: Sequence[tuple[str, float]], step: int, n_steps: int) -> list[str]:
    """List the examples that a curriculum has opened."""
    ordered = sorted(examples, key=lambda example: example[1])
    return [text for text, _ in ordered[: -(-len(ordered) * (step + 1) // n_steps)]]


def _hard_first(examples: Sequence[tuple[str, float]], step: int, n_steps: int) -> list[str]:
    return _easy_first([(text, -difficulty) for text, difficulty in examples], step, n_steps)


POST_TRAINING = (
    Exercise(
        "merge-lora",
        "merge(W, A, B, alpha): the weight (out, in) of a linear layer with its LoRA adapter merged: A is "
        "(r, in), B is (out, r), and the scale is alpha / r.",
        _merge,
        lambda: [(noise(1, 4, 3), noise(2, 2, 3), noise(3, 4, 2), 6.0)],
        (
            Mistake(
                "scale forgotten",
                "the product of the adapter is added without the scale",
                "Multiply by alpha / r, as in the forward pass.",
                lambda W, A, B, alpha: W + B @ A,
            ),
            Mistake(
                "not divided by the rank",
                "the scale is alpha",
                "alpha / r, so that one alpha fits several ranks.",
                lambda W, A, B, alpha: W + alpha * B @ A,
            ),
            Mistake(
                "adapter alone",
                "the base weight is lost",
                "Add the update to W.",
                lambda W, A, B, alpha: _merge(0 * W, A, B, alpha),
            ),
        ),
        ("The merged layer must give the same output as the layer with its adapter.",),
    ),
    Exercise(
        "best-step",
        "best_step(losses, patience): the index of the evaluation whose checkpoint early stopping restores. "
        "Training stops after `patience` evaluations in a row without a new lowest validation loss; later "
        "losses are never seen.",
        _best_step,
        lambda: [
            ([3.0, 2.0, 2.1, 2.2, 1.0], 2),
            ([3.0, 3.1, 2.9, 3.0, 2.8, 2.9, 2.85], 2),
            ([2.0, 1.5, 1.2], 3),
        ],
        (
            Mistake(
                "last instead of best",
                "the last checkpoint is restored",
                "The last evaluations were no better: restore the lowest one.",
                partial(_best_step, best=False),
            ),
            Mistake(
                "looks beyond the stop",
                "the lowest of all losses is returned",
                "Training has stopped by then.",
                lambda losses, patience: losses.index(min(losses)),
            ),
            Mistake(
                "patience not reset",
                "evaluations without improvement are counted over the whole run",
                "A new lowest loss sets the count back to 0.",
                partial(_best_step, reset=False),
            ),
        ),
        ("Keep two numbers: the best index, and the evaluations since.",),
    ),
    Exercise(
        "mixing-rates",
        "mixing_rates(sizes, temperature): the probability of sampling from each data set: proportional to "
        "its size to the power 1 / temperature.",
        _mixing_rates,
        lambda: [([900, 100], 2.0), ([50, 50, 4000], 3.0), ([7, 3], 1.0)],
        (
            Mistake(
                "power upside down",
                "the sizes are raised to the temperature itself",
                "A high temperature makes the data sets more equal: 1 / temperature.",
                lambda sizes, temperature: _mixing_rates(sizes, 1 / temperature),
            ),
            Mistake(
                "temperature ignored",
                "the data sets are mixed in proportion to their sizes",
                "Raise each size to the power 1 / temperature first.",
                lambda sizes, temperature: _mixing_rates(sizes, 1.0),
            ),
            Mistake(
                "not normalized",
                "the rates do not sum to 1",
                "Divide by their sum.",
                lambda sizes, temperature: [size ** (1 / temperature) for size in sizes],
            ),
        ),
        ("At temperature 2, 900 and 100 become 30 and 10.",),
    ),
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
    Exercise(
        "abstention-rates",
        "rates(answers, correct): three fractions that describe an expert: accuracy on answerable questions, "
        "over-refusal (answerable questions that get 'I do not know.'), and abstention (unanswerable "
        "questions that get it). correct[i] is None for an unanswerable question.",
        _rates,
        lambda: [
            (
                ["Paris", UNKNOWN, "Rome", UNKNOWN, "x", UNKNOWN, "y"],
                ["Paris", "Oslo", "Bern", None, None, None, "y"],
            )
        ],
        (
            Mistake(
                "over all questions",
                "each count is divided by the number of all questions",
                "Divide by the answerable questions, or by the unanswerable ones.",
                partial(_rates, known_only=False),
            ),
            Mistake(
                "over-refusal and abstention swapped",
                "the second and the third fraction are swapped",
                "Over-refusal is about answerable questions.",
                partial(_rates, over=False),
            ),
        ),
        ("Split the questions into answerable and unanswerable ones first.",),
    ),
    Exercise(
        "easy-first",
        "easy_first(examples, step, n_steps): a curriculum. examples are (text, difficulty). Return the "
        "texts "
        "that step number `step`, from 0, may sample: the easiest ones, easiest first. Their number grows "
        "evenly to all of them in the last step, and is rounded up.",
        _easy_first,
        lambda: [
            ([("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0), ("e", 9.0)], step, 4) for step in (0, 1, 3)
        ],
        (
            Mistake(
                "hard examples first",
                "the most difficult examples come first",
                "Sort by increasing difficulty.",
                _hard_first,
            ),
            Mistake(
                "not sorted",
                "the examples come in the order of the file",
                "Sort by the difficulty.",
                lambda examples, step, n_steps: _easy_first([(t, 0.0) for t, _ in examples], step, n_steps),
            ),
            Mistake(
                "all from the start",
                "every step samples from all examples",
                "Open len(examples) * (step + 1) / n_steps of them.",
                lambda examples, step, n_steps: _easy_first(examples, n_steps - 1, n_steps),
            ),
        ),
        ("math.ceil(len(examples) * (step + 1) / n_steps)",),
    ),
)
