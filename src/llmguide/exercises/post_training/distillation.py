"""An exercise of distillation: the divergence of a student from its teacher."""

from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise


def distill(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor,
    temperature: float,
    reverse: bool,
    *,
    scale: bool = True,
    student_only: bool = False,
    padding: bool = False,
    vocabulary: bool = False,
) -> Tensor:
    """Compute a distillation loss, with switches for the mistakes."""
    log_q = (student / temperature).log_softmax(-1)
    log_p = (teacher / (1.0 if student_only else temperature)).log_softmax(-1)
    first, second = (log_q, log_p) if reverse else (log_p, log_q)
    terms = first.exp() * (first - second)
    divergence = terms.mean(-1) if vocabulary else terms.sum(-1)
    mean = divergence.mean() if padding else (divergence * mask).sum() / mask.sum()
    return mean * temperature**2 if scale else mean


def _distill_probes() -> list[Arguments]:
    student, teacher = noise(45, 2, 3, 5), 2 * noise(46, 2, 3, 5)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    return [(student, teacher, mask, 2.0, False), (teacher, student, mask, 0.5, True)]


EXERCISES = (
    Exercise(
        "distill",
        "distill(student, teacher, mask, temperature, reverse) returns a distillation loss as a scalar "
        "tensor. `student` and `teacher` (B, T, V) are logits at the same positions, and `mask` (B, T) is "
        "True at the positions that count. Both distributions are softened with `temperature`. At each "
        "position the loss is the KL divergence, in nats: KL(teacher || student), or KL(student || teacher) "
        "if `reverse` is True. Average over the positions that count. Then rescale the result as Hinton and "
        "others do, so that at high temperatures the size of the gradients does not depend on the "
        "temperature.",
        distill,
        _distill_probes,
        (
            Mistake(
                "direction swapped",
                "the two directions of the KL divergence are exchanged",
                "KL(p || q) is averaged over p. F.kl_div(input, target) computes KL(target || input).",
                lambda student, teacher, mask, temperature, reverse: distill(
                    student, teacher, mask, temperature, not reverse
                ),
            ),
            Mistake(
                "not rescaled",
                "the loss is not multiplied by the square of the temperature",
                "Each logit is divided by T, and so is the difference of the probabilities: gradients shrink "
                "like 1 / T^2.",
                partial(distill, scale=False),
            ),
            Mistake(
                "temperature of the student only",
                "the teacher's logits are not divided by the temperature",
                "Soften both distributions, or the student's logits will end up too large.",
                partial(distill, student_only=True),
            ),
            Mistake(
                "padding counted",
                "the mean is over all positions, padding included",
                "Sum over the positions that count, and divide by their number.",
                partial(distill, padding=True),
            ),
            Mistake(
                "mean over the vocabulary",
                "the terms of the divergence are averaged over the vocabulary",
                "An expectation is a sum with weights. reduction='mean' of F.kl_div is a trap.",
                partial(distill, vocabulary=True),
            ),
            Mistake(
                "multiplied by the temperature once",
                "the loss is multiplied by the temperature and not by its square",
                "For large T, how does the gradient with respect to a logit depend on T? Two factors of 1 / "
                "T come together.",
                lambda student, teacher, mask, temperature, reverse: (
                    distill(student, teacher, mask, temperature, reverse) / temperature
                ),
            ),
        ),
        (
            "Take log_softmax of both logits, each divided by the temperature. Which of the two is p and "
            "which is q in KL(p || q)?",
            "KL(p || q) is the sum over the vocabulary of p (log p - log q).",
            "For large T, p - q is proportional to 1 / T, and so is the derivative of a scaled logit. "
            "Together that is 1 / T^2, which a factor T^2 undoes.",
        ),
        level="medium",
        minutes=15,
        after="Forward KL makes the student cover everything that the teacher might say. Reverse KL is "
        "averaged over the student's own text, so it fits on-policy distillation, and it lets a small "
        "student concentrate on some of the teacher's modes.",
    ),
)
