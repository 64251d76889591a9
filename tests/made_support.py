"""A small support folder, a learner's checkpoint and queries, for tests of predict."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from made import made_image
from PIL import Image

from cstlib.checkpoints import save_checkpoint
from cstlib.cst import CST

BACKBONE = "random-mini"


def made_learner(path: Path, backbone: str = BACKBONE) -> Path:
    """A checkpoint of a learner with random weights."""
    torch.manual_seed(0)
    learner = CST().state_dict()
    save_checkpoint(
        path, learner=learner, in_channels=72, config={"backbone": backbone}
    )
    return path


def made_picture(index: int, size: tuple[int, int] = (96, 96)) -> Image.Image:
    """Made image number ``index``, H x W = ``size``."""
    return Image.fromarray(made_image(index, size)[0])


def made_support(
    root: Path, classes: tuple[str, ...] = ("key", "mug"), shots: int = 1, masks=False
) -> Path:
    """``root/<class>/<number>.jpg``, with white-on-black masks if asked for."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for shot in range(shots):
            image, mask = made_image(c + 20 * shot)
            stem = root / name / str(shot)
            Image.fromarray(image).save(f"{stem}.jpg", quality=95)
            if masks:
                white = (255 * (mask == c + 1)).astype(np.uint8)
                Image.fromarray(white).save(f"{stem}.png")
    return root


def made_user(home: Path) -> SimpleNamespace:
    """What somebody brings along, in ``home``: pictures to learn from, and to ask about.

    Two classes of two images, ``plain`` and ``marked`` with masks; a ``learner``'s
    checkpoint; and a ``query``.
    """
    made_picture(1, (70, 110)).save(home / "query.png")
    return SimpleNamespace(
        plain=made_support(home / "plain", shots=2),
        marked=made_support(home / "marked", shots=2, masks=True),
        learner=made_learner(home / "best.pt"),
        query=home / "query.png",
    )
