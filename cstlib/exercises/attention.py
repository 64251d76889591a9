"""Exercises on attention and self-distillation (notebook 01)."""

from __future__ import annotations

import torch
from numpy.random import RandomState
from torch import Tensor

from cstlib.exercises import Exercise


def _normal(random: RandomState, *shape: int) -> Tensor:
    return torch.from_numpy(random.standard_normal(shape)).float()


def _queries(random: RandomState):
    for heads, tokens, d in ((2, 5, 4), (6, 10, 16), (3, 26, 8)):
        yield _normal(random, heads, d), _normal(random, heads, tokens, d)


def _scores(query, keys):
    return torch.einsum("md,mnd->mn", query, keys)


def _shares(query, keys):
    return (_scores(query, keys) / keys.shape[-1] ** 0.5).softmax(-1)[:, 1:]


def _weights(random: RandomState):
    for momentum in (0.9, 0.97, 0.996):
        yield _normal(random, 3, 4), _normal(random, 3, 4), momentum


def _opinions(random: RandomState):
    for images, prototypes in ((2, 5), (6, 9), (4, 16)):
        student = _normal(random, images, prototypes).tanh()
        teacher = _normal(random, images, prototypes).tanh()
        yield student, teacher, 0.1, 0.05


def _loss(student, teacher, t_student, t_teacher):
    target = (teacher / t_teacher).softmax(-1)
    return -(target * (student / t_student).log_softmax(-1)).sum(-1).mean()


EXERCISES = [
    Exercise(
        name="class-token-attention",
        task="scale the products, take a softmax over the keys, keep the patches.",
        reference=_shares,
        inputs=_queries,
        mistakes={
            "divide the products by the root of d before the softmax": (
                lambda q, k: _scores(q, k).softmax(-1)[:, 1:]
            ),
            "divide by the *root* of d; yours divides by d itself": (
                lambda q, k: (_scores(q, k) / k.shape[-1]).softmax(-1)[:, 1:]
            ),
            "d is the keys' last axis; yours comes from the page above, where it is 16": (
                lambda q, k: (_scores(q, k) / 16**0.5).softmax(-1)[:, 1:]
            ),
            "the class token's share stands first; you drop the last patch instead": (
                lambda q, k: (_scores(q, k) / k.shape[-1] ** 0.5).softmax(-1)[:, :-1]
            ),
            "is your softmax over the heads? It goes over the keys": (
                lambda q, k: (_scores(q, k) / k.shape[-1] ** 0.5).softmax(0)[:, 1:]
            ),
            "the class token's own key takes its share too: drop it after the softmax": (
                lambda q, k: (_scores(q, k[:, 1:]) / k.shape[-1] ** 0.5).softmax(-1)
            ),
            "the shares on the patches are wanted; the class token's own comes first": (
                lambda q, k: (_scores(q, k) / k.shape[-1] ** 0.5).softmax(-1)
            ),
        },
        praise="The patches' shares sum to less than one: the class token keeps some.",
    ),
    Exercise(
        name="teacher-step",
        task="keep the momentum's share of the teacher and add the rest of the student.",
        reference=lambda t, s, m: m * t + (1 - m) * s,
        inputs=_weights,
        mistakes={
            "student and teacher are swapped: the momentum belongs to the teacher": (
                lambda t, s, m: m * s + (1 - m) * t
            ),
            "add the student's weight itself, not its difference from the teacher's": (
                lambda t, s, m: m * t + (1 - m) * (s - t)
            ),
            "the two shares must sum to one; yours adds all of the student": (
                lambda t, s, m: m * t + s
            ),
        },
        praise="With momentum m the teacher remembers about 1 / (1 - m) steps.",
    ),
    Exercise(
        name="distillation-loss",
        task="give the cross-entropy of the student's choice under the teacher's.",
        reference=_loss,
        inputs=_opinions,
        mistakes={
            "each network has its own temperature; you use the student's for both": (
                lambda s, t, ts, tt: _loss(s, t, ts, ts)
            ),
            "the teacher is the target: its choice stands outside the logarithm": (
                lambda s, t, ts, tt: _loss(t, s, tt, ts)
            ),
            "the sign: a cross-entropy is minus the mean of log-probabilities": (
                lambda s, t, ts, tt: -_loss(s, t, ts, tt)
            ),
            "scores are divided by the temperature: a small one makes them sharper": (
                lambda s, t, ts, tt: _loss(s, t, 1 / ts, 1 / tt)
            ),
            "the target is a choice that sums to one: the teacher needs a softmax too": (
                lambda s, t, ts, tt: (
                    -((t / tt) * (s / ts).log_softmax(-1)).sum(-1).mean()
                )
            ),
            "sum over the prototypes, then take the mean over the images": (
                lambda s, t, ts, tt: _loss(s, t, ts, tt) / s.shape[1]
            ),
            "the mean over the images is wanted, not their sum": (
                lambda s, t, ts, tt: _loss(s, t, ts, tt) * len(s)
            ),
        },
        praise="In training, no gradient flows through the teacher.",
    ),
]
