"""Draw episodes by the benchmarks' protocol, from lists of names alone.

The published numbers come from 1,000 test episodes; episode ``index`` is drawn with
NumPy's legacy generator seeded by ``index``. Its calls, their order and even their
``replace=False`` decide which images are met, so they are kept to the letter here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import RandomState

from cstlib.data.episode import EpisodePlan
from cstlib.data.lists import (
    Entries,
    ImagesOfClass,
    check_protocol,
    check_task,
    read_list,
    write_list,
)
from cstlib.errors import CstlibError

__all__ = [
    "draw_coco_episode",
    "draw_pascal_episode",
    "epoch_length",
    "read_list",
    "training_plans",
    "write_list",
]

# RandomState takes seeds of 32 bits.
SEEDS = 2**32


def draw_pascal_episode(
    entries: Entries,
    images_of_class: ImagesOfClass,
    index: int,
    way: int = 1,
    shot: int = 1,
    task: str = "fs-cs",
) -> EpisodePlan:
    """Episode number ``index`` of Pascal-5i's validation, which is also its test.

    The query is line ``index`` of the list (and around again); the generator seeded
    by ``index`` then draws classes and supports.

    Args:
        entries: the fold's list, (name, class) line by line.
        images_of_class: the images listed under each class of the fold.
        way: N, the number of support classes.
        shot: K, the number of support images of each.
        task: "fs-cs", or "fs-s" (Table 8): the support class is always the query's.
            Where FS-CS happens to draw that class, the two episodes are the same.

    Raises:
        CstlibError: too many ways, too few images, a class outside the fold, or more
            than one way in FS-S.
    """
    check_task(task, way)
    random = RandomState(_checked_seed(index, "episode"))
    query, query_class = _line(entries, index)
    sizes = way, shot, task
    return _draw_supports(random, index, query, query_class, images_of_class, *sizes)


def draw_coco_episode(
    images_of_class: ImagesOfClass,
    index: int,
    way: int = 1,
    shot: int = 1,
    task: str = "fs-cs",
) -> EpisodePlan:
    """Episode number ``index`` of COCO-20i's validation, which is also its test.

    Here the generator seeded by ``index`` first draws the query's class, then the
    query, both uniformly; arguments and errors as in `draw_pascal_episode`.
    """
    check_task(task, way)
    random = RandomState(_checked_seed(index, "episode"))
    return _draw_coco(random, index, images_of_class, way, shot, task)


def training_plans(
    entries: Entries,
    images_of_class: ImagesOfClass,
    episodes: int,
    seed: int,
    protocol: str = "pascal",
    start: int = 0,
    task: str = "fs-cs",
) -> Iterator[EpisodePlan]:
    """Yield the 1-way 1-shot training episodes number ``start`` to ``episodes - 1``.

    Pascal walks all lines as queries, shuffled anew in each epoch; COCO draws its
    queries as in testing. Every episode has its own generator, so an interrupted run
    goes on with ``start`` exactly as it would have gone on.

    Args:
        episodes: length of the whole run, those before ``start`` included.
        seed: of the run; the same seed gives the same episodes.
        task: as in `draw_pascal_episode`.

    Raises:
        CstlibError: as in `draw_pascal_episode`, or an unknown protocol.
    """
    check_protocol(protocol)
    check_task(task)
    _checked_seed(seed, "seed")
    how = protocol, start, task
    return _training_plans(entries, images_of_class, episodes, seed, *how)


def epoch_length(entries: Entries, protocol: str = "pascal") -> int:
    """Episodes in a training epoch: all lines (Pascal), all unique images (COCO)."""
    check_protocol(protocol)
    return len(entries) if protocol == "pascal" else len({name for name, _ in entries})


def _training_plans(
    entries, images_of_class, episodes, seed, protocol, start, task
) -> Iterator[EpisodePlan]:
    order, order_epoch = np.empty(0, dtype=int), -1
    for index in range(start, episodes):
        # 0 and 1 keep the streams of shuffling and drawing apart.
        random = RandomState([1, seed, index])
        if protocol == "coco":
            yield _draw_coco(random, index, images_of_class, 1, 1, task)
            continue
        _line(entries, 0)
        epoch, step = divmod(index, len(entries))
        if epoch != order_epoch:
            order = RandomState([0, seed, epoch]).permutation(len(entries))
            order_epoch = epoch
        query, query_class = entries[order[step]]
        drawn = query, query_class, images_of_class, 1, 1, task
        yield _draw_supports(random, index, *drawn)


def _line(entries: Entries, index: int) -> tuple[str, int]:
    if not entries:
        raise CstlibError("The list of images is empty: prepare the data again.")
    return entries[index % len(entries)]


def _draw_coco(
    random: RandomState,
    index: int,
    images_of_class: ImagesOfClass,
    way: int,
    shot: int,
    task: str,
) -> EpisodePlan:
    classes = sorted(images_of_class)
    _check_ways(way, shot, classes)
    query_class = int(random.choice(classes, replace=False))
    _check_images(query_class, images_of_class, shot)
    query = _draw_one(random, images_of_class[query_class])
    sizes = way, shot, task
    return _draw_supports(random, index, query, query_class, images_of_class, *sizes)


def _draw_supports(
    random: RandomState,
    index: int,
    query: str,
    query_class: int,
    images_of_class: ImagesOfClass,
    way: int,
    shot: int,
    task: str,
) -> EpisodePlan:
    """Draw N classes, then class by class K distinct images that are not the query."""
    classes = sorted(images_of_class)
    _check_ways(way, shot, classes)
    if query_class not in images_of_class:
        raise CstlibError(
            f"The query {query} is listed under class {query_class}, outside the "
            f"classes {classes}: use the list of the same fold."
        )
    # The query's class is drawn first with probability 1/2: the query shows the
    # support class in about half of the 1-way episodes; in FS-S, with probability 1.
    others = len(classes) - 1
    own = 1.0 if task == "fs-s" or not others else 0.5
    weights = [own if c == query_class else (1 - own) / others for c in classes]
    drawn = random.choice(classes, way, replace=False, p=weights)
    support_classes = tuple(int(c) for c in drawn)

    supports = []
    for c in support_classes:
        images = images_of_class[c]
        _check_images(c, images_of_class, shot)
        names: list[str] = []
        checked = False
        while len(names) < shot:
            name = _draw_one(random, images)
            if name != query and name not in names:
                names.append(name)
            elif not checked:
                # Where names repeat, K distinct ones may never come up.
                _check_images(c, images_of_class, shot, besides=query)
                checked = True
        supports.append(tuple(names))
    return EpisodePlan(index, query, query_class, support_classes, tuple(supports))


def _draw_one(random: RandomState, images: Sequence[str]) -> str:
    # Drawing a position instead of a name uses the same random numbers, and does not
    # turn the whole list into an array each time.
    return images[int(random.choice(len(images), replace=False))]


def _check_ways(way: int, shot: int, classes: Sequence[int]) -> None:
    if way < 1 or shot < 1:
        raise CstlibError(
            f"An episode cannot have {way} ways and {shot} shots: give 1 or more each."
        )
    if way > len(classes):
        raise CstlibError(
            f"{way} ways were asked for, but the fold has {len(classes)} classes: "
            f"ask for at most {len(classes)}."
        )


def _check_images(
    c: int, images_of_class: ImagesOfClass, shot: int, besides: str | None = None
) -> None:
    """K supports and a query need K + 1 images; ``besides`` a query K distinct ones."""
    count = len(images_of_class[c])
    if besides is not None:
        distinct = set(images_of_class[c])
        count = len(distinct)
        enough = len(distinct - {besides}) >= shot
    else:
        enough = count > shot
    if not enough:
        raise CstlibError(
            f"Class {c} has {count} images where {shot} shots and a query need "
            f"{shot + 1}: ask for fewer shots or add images of the class to the list."
        )


def _checked_seed(number: int, what: str) -> int:
    if not 0 <= number < SEEDS:
        raise CstlibError(
            f"The {what} number {number} cannot seed the random numbers: give one "
            f"from 0 to {SEEDS - 1}."
        )
    return number
