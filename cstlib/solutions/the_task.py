"""Solutions of notebook 00: presence, the draw of classes, IoU over episodes."""

from __future__ import annotations

from cstlib.solutions import Solution

NOTEBOOK = "00_the_task"


def presence_bits(mask, support_classes):
    return [bool((mask == c).any()) for c in support_classes]


def class_probabilities(classes, query_class):
    others = len(classes) - 1
    return [0.5 if c == query_class else 0.5 / others for c in classes]


def summed_iou(predicted, truth):
    intersection = (predicted & truth).sum()
    union = (predicted | truth).sum()
    return intersection / union


SOLUTIONS = [
    Solution(
        "presence-bits",
        presence_bits,
        """\
`mask == c` marks the pixels of one class, and `any()` asks for a single one of them:
the protocol knows no least area. Walking through `support_classes` as they come keeps
the bits in the order of the supports. Sorting them first is the slip that goes
unnoticed longest, because with one way there is nothing to sort.""",
    ),
    Solution(
        "class-probabilities",
        class_probabilities,
        """\
One half goes to the query's own class; the other half is shared by the *others*, and
there is one fewer of them than classes. A sum of the list that is not 1 gives the
common slips away: a half for everybody, or a division by the number of all classes.""",
    ),
    Solution(
        "summed-iou",
        summed_iou,
        """\
`sum()` without an axis runs over episodes, rows and columns at once, which is just what
the benchmark does. An episode without the class adds nothing to the intersection, but
what was predicted there adds to the union: leaving it out would forgive inventions.
Dividing episode by episode and taking the mean is another metric.""",
    ),
]
