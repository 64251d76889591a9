"""``python -m cstlib check --workshop``: is this machine ready for each notebook?

One line a notebook: what it needs is looked for, and its central computation is run at
a tiny size. Nothing is written and nothing is fetched; ``--prepare`` first draws and
computes what would otherwise be made while a class is waiting.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cstlib.room import Missing, Room, failed

GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


# ---- Central computations, each on a handful of images -------------------------------


def _episodes(room: Room) -> bool:
    from cstlib.metrics import Meter

    dataset = room.world.dataset(0, "val")
    meter = Meter(dataset.classes)
    for index in range(5):
        plan = dataset.plan(index)
        truth, there = dataset.query_mask(plan), dataset.presence(plan)
        label = truth.where(truth != 255, 0)  # a prediction knows no void
        meter.update(label, there, truth, there, plan.support_classes)
    return meter.exact_ratio == 1


def _attention(room: Room) -> bool:
    _, query, _ = room.pair
    scores = query.attn_q[0, :, :1] @ query.attn_k[0].transpose(1, 2)  # M x 1 x (1+N)
    return bool(((scores.softmax(-1).sum(-1) - 1).abs() < 1e-4).all())


def _pseudo_masks(room: Room) -> bool:
    from cstlib.pseudo_masks import pseudo_mask

    episode, query, support = room.pair
    size = tuple(episode.query_image.shape[1:])
    mask = pseudo_mask(query, support, size, room.backbone.threshold)
    return tuple(mask.shape) == (1, *size)


def _correlations(room: Room) -> bool:
    from cstlib.correlation import correlate

    found = correlate(*room.pair[1:])
    return found.shape[-1] == 145 and bool((found.abs() <= 1.001).all())


def _learner(room: Room, heads: int | None = None) -> bool:
    import torch

    from cstlib.correlation import correlate
    from cstlib.cst import CST, cst_loss

    episode, query, support = room.pair
    more = {} if heads is None else {"heads": heads}
    correlation = correlate(query, support, **more)
    learner = CST(correlation.shape[1])
    class_logits, mask_logits = learner(correlation, episode.support_masks[0])
    target = (episode.query_mask == 1)[None]
    loss = cst_loss(class_logits, mask_logits, episode.presence, target)[0]
    loss.backward()
    return bool(torch.isfinite(loss))


def _training(supervision: str) -> Callable[[Room], bool]:
    def one_step(room: Room) -> bool:
        import math

        from cstlib.training import Run, TrainConfig, fit

        config = TrainConfig(
            data="mini",
            fold=0,
            supervision=supervision,
            seed=0,
            episodes=12,
            validate_every=12,
            validation_episodes=2,
        )
        (step,) = fit(Run(config, room.world, room.features))
        return math.isfinite(step.loss) and step.validation is not None

    return one_step


def _enhancer(room: Room) -> bool:
    import math

    from cstlib import enhancer, enhancer_pairs

    train_set = room.world.dataset(0, "trn")
    names = enhancer_pairs.masked_subset(train_set, 0.01)
    pairs = enhancer_pairs.training_pairs(train_set, room.features, names)
    one = enhancer.new_enhancer(room.features.heads).to(room.features.device)
    return all(map(math.isfinite, enhancer.fit_enhancer(one, pairs, steps=2)))


def _ablation(room: Room) -> bool:
    from cstlib.records import read_records

    read_records(kind="train", data="mini")
    return _learner(room, heads=1)


def _own_pictures(room: Room) -> bool:
    from PIL import Image

    from cstlib import Predictor

    episode = room.pair[0]
    pixels = episode.query_image.permute(1, 2, 0).mul(255).byte().numpy()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "class").mkdir()
        Image.fromarray(pixels).save(Path(folder) / "class" / "1.png")
        found = Predictor(folder, device="cpu")(Image.fromarray(pixels))
    return 0 <= found.presence_prob["class"] <= 1


@dataclass(frozen=True)
class Needs:
    """What a notebook needs beyond packages, kernel, miniature and weights.

    Attributes:
        smoke: its central computation at a tiny size; True if the result makes sense.
        memory: gigabytes that should be free.
        kept: attributes of `Room` with features that should have been computed.
    """

    smoke: Callable[[Room], bool] = lambda room: True
    memory: float = 1
    kept: tuple[str, ...] = ()


NEEDS = {
    "00_the_task": Needs(_episodes),
    "01_dino_attention": Needs(_attention),
    "02_pseudo_masks": Needs(_pseudo_masks),
    "03_correlation_tokens": Needs(_correlations),
    "04_cst": Needs(_learner),
    "05_image_level_training": Needs(
        _training("image"), 2, ("features", "random_attention")
    ),
    "06_mixed_supervision": Needs(_enhancer, 2, ("features",)),
    "07_full_supervision": Needs(_training("pixel"), 2, ("features",)),
    "08_ablations": Needs(_ablation, 2, ("features",)),
    "09_your_own_images": Needs(_own_pictures),
}


def look(room: Room, notebook: str) -> str:
    """What ``notebook`` lacks on this machine and what to do; empty if nothing."""
    needs = NEEDS.get(notebook, Needs())
    try:
        for name in ("packages", "kernel", "world", "backbone", *needs.kept):
            room.need(name)
        if room.free_memory < needs.memory:
            raise Missing(
                f"memory ({room.free_memory:.1f} GB free, {needs.memory:.0f} wanted): "
                "close other programs"
            )
        if not needs.smoke(room):
            raise Missing("a sensible result of its central computation: run the tests")
    except Missing as missing:
        return str(missing)
    except Exception as error:  # noqa: BLE001
        return failed("central computation", error)
    return ""


def check_room(names: list[str], prepare: bool = False) -> int:
    """Print a line for each notebook; 0 if all can run here, else 1.

    Args:
        names: of the notebooks, without ending.
        prepare: first draw the miniature and compute features, where they are missing.
    """
    start = time.monotonic()
    if prepare:
        prepare_room()
    room, lacking = Room(), 0
    width = max(map(len, names), default=0)
    for name in names:
        lacks = look(room, name)
        lacking += bool(lacks)
        line = f"missing  {name:{width}}  {lacks}" if lacks else f"ok       {name}"
        print(_coloured(line, RED if lacks else GREEN), flush=True)
    took = f"{time.monotonic() - start:.0f} s"
    if lacking:
        print(
            f"\nNot ready: {lacking} of {len(names)} notebooks lack something ({took})."
        )
        return 1
    print(f"\nReady: all {len(names)} notebooks can run here ({took}).")
    return 0


def prepare_room() -> None:
    """Draw the miniature and compute the features that the notebooks will want.

    Raises:
        CstlibError: the disk is full or not writable, or weights are missing.
    """
    from cstlib.features import FeatureStore
    from cstlib.worlds import load_world

    world = load_world("mini")
    FeatureStore(world, world.backbone)
    FeatureStore(world, "random-mini", layers=False)


def lessons(folder: Path) -> list[str]:
    """Names of the notebooks in ``folder``; those that are known where there are none."""
    there = sorted(path.stem for path in folder.glob("[0-9][0-9]_*.ipynb"))
    return there or list(NEEDS)


def _coloured(line: str, colour: str) -> str:
    """In colour on a terminal, plain where it is read by something else."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return line
    return f"{colour}{line}{PLAIN}"
