"""Solutions of notebook 06: the masked subset, a pair to learn from, parameters."""

from __future__ import annotations

import torch

from cstlib.solutions import Solution

NOTEBOOK = "06_mixed_supervision"


def first_names(names, fraction):
    """The first `fraction` of the names, by name; at least one."""
    count = max(1, round(fraction * len(names)))
    return sorted(names)[:count]


def training_pair(ids, c, known, attended):
    """The mask of class c, and the pixels that the loss counts."""
    claimed = torch.isin(ids, torch.tensor(known))
    return ids == c, claimed | ~attended


def parameters(heads, width):
    """Weights and biases of heads -> width -> width -> 1, all 3x3."""
    layers = (heads, width), (width, width), (width, 1)
    return sum((9 * inputs + 1) * outputs for inputs, outputs in layers)


SOLUTIONS = [
    Solution(
        "masked-subset",
        first_names,
        """\
Sorting by name makes the choice the same for everybody, whatever order a folder lists
its files in. The count is rounded, not cut off, and never 0: a small share of a short
list still has to give the enhancer something to learn from.""",
    ),
    Solution(
        "training-pair",
        training_pair,
        """\
Three kinds of pixel count: those of class c (true), those of other known classes (false,
and a mask says so), and those that nobody claims and attention leaves alone (false, and
nobody doubts it). What is left out are attended pixels without a known owner: clutter,
or an object of a class that is held out. The pair cannot say which, so it says nothing.""",
    ),
    Solution(
        "enhancer-parameters",
        parameters,
        """\
A 3x3 convolution has nine weights for each pair of an input and an output channel, and
one bias for each output channel, hence `9 * inputs + 1`. The middle convolution, width
to width, holds nearly all; leaving it out is the largest of the slips.""",
    ),
]
