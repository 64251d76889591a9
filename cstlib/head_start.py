"""By how many episodes one training is ahead of another.

The figure is how many episodes earlier the first one's validation mIoU reaches `SHARE`
of the best that the second ever has, with straight lines between validations and 0
before the first. One that never gets there counts as getting there at its last episode,
which is to its advantage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SHARE = 0.9


def head_start(
    faster: Sequence[Mapping[str, float]], slower: Sequence[Mapping[str, float]]
) -> float | None:
    """Episodes by which the first training is ahead of the second, by this module's rule.

    Args:
        faster, slower: the ``validation`` of two records, ``episode`` and ``miou``.

    Returns:
        Negative if it is behind; None where the second never rises above 0, or one of
        the two was not validated.
    """
    level = SHARE * max((v["miou"] for v in slower), default=0.0)
    if not level or not faster:
        return None
    return episodes_to(slower, level) - episodes_to(faster, level)


def episodes_to(validation: Sequence[Mapping[str, float]], level: float) -> float:
    """When the validation mIoU first reaches a level above 0; at the latest, the end."""
    episode, miou = 0.0, 0.0
    for step in validation:
        if step["miou"] >= level:
            part = (level - miou) / (step["miou"] - miou)
            return episode + part * (step["episode"] - episode)
        episode, miou = step["episode"], step["miou"]
    return episode
