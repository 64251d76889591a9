"""What the class token looked at while it learned: attention maps kept on the way.

Pre-training stores them beside its weights at every measurement, so that notebook 01
can show how attention finds the objects without repeating an hour of training.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cstlib import files
from cstlib.backbones import Backbone
from cstlib.errors import CstlibError
from cstlib.pseudo_masks import attention_map

IMAGES = 6  # the first ones of the validation split, by name


@torch.no_grad()
def class_token_maps(backbone: Backbone, pixels: Tensor) -> Tensor:
    """Equation (9) of each image with its own class token: B x M x h x w float16."""
    tokens = backbone(pixels)
    maps = attention_map(tokens, tokens)
    return maps.unflatten(2, tokens.grids[-1]).half()


def keep(path: Path, step: int, maps: Tensor) -> None:
    """Add a step's maps, B x M x h x w, to the file; those of later steps go.

    Later steps are there when a run was cut off and continues from before them.
    """
    kept = load(path) if path.is_file() else {}
    kept = {s: m for s, m in kept.items() if s < step} | {step: maps}
    with files.replacing(path) as temporary:
        save_file({str(s): m.contiguous() for s, m in kept.items()}, temporary)


def load(path: Path) -> dict[int, Tensor]:
    """Step -> maps, B x M x h x w, in the order of the steps.

    Raises:
        CstlibError: there is no such file, or it is damaged.
    """
    try:
        stored = load_file(path)
    except Exception as error:
        raise CstlibError(
            f"The attention maps {path} are missing or damaged: get them with the "
            "repository, or make them with `python -m cstlib pretrain`."
        ) from error
    return {step: stored[str(step)] for step in sorted(map(int, stored))}
