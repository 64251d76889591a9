"""Solutions of notebook 01: attention, the teacher's step, the distillation loss."""

from __future__ import annotations

import torch

from cstlib.solutions import Solution

NOTEBOOK = "01_dino_attention"


def class_token_attention(query, keys):
    d = keys.shape[-1]
    scores = torch.einsum("md,mnd->mn", query, keys) / d**0.5
    shares = scores.softmax(dim=-1)  # M x (1 + N), rows sum to 1
    return shares[:, 1:]


def teacher_step(teacher, student, momentum):
    return momentum * teacher + (1 - momentum) * student


def distillation_loss(student, teacher, t_student, t_teacher):
    target = (teacher / t_teacher).softmax(dim=-1)
    log_guess = (student / t_student).log_softmax(dim=-1)
    return -(target * log_guess).sum(dim=-1).mean()


SOLUTIONS = [
    Solution(
        "class-token-attention",
        class_token_attention,
        """\
Each head's query meets that head's keys, so `m` stays and `d` is summed over. The class
token competes for attention like every other token: it is dropped *after* the softmax,
and what it kept is missing from the patches' sum. Dropping its key before gives shares
that sum to one, which is another picture.""",
    ),
    Solution(
        "teacher-step",
        teacher_step,
        """\
A running average: the momentum is what the teacher keeps, and the two factors sum to
one, so that equal weights stay equal. Swapped, the teacher would be nearly the student
itself, a target that jumps with every step.""",
    ),
    Solution(
        "distillation-loss",
        distillation_loss,
        """\
A cross-entropy has the target's probabilities outside the logarithm and the guess's
inside; each network has its own temperature. Summed over the prototypes it is one
number an image, and the mean over the images does not grow with the batch.
`log_softmax` is the logarithm of a softmax without its rounding.""",
    ),
]
