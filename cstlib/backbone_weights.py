"""Where a backbone's weights come from: files, timm's hub, or a seed.

Nothing here is part of the method. It sees to it that a name always means the same
weights, and that whatever is missing ends in one sentence.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from torch import Tensor, nn

from cstlib.errors import CstlibError
from cstlib.files import sha256
from cstlib.paths import WEIGHTS, data_home

RANDOM_SEED = 0


def interpolate_position_embedding(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings for another grid, as DINO's own code interpolates them.

    Bicubic without antialiasing, by the scale factor (h + 0.1) / n of the trained
    n x n grid; timm goes to the target size with antialiasing instead, and the final
    tokens of a ViT-S/8 at 400 pixels then differ by up to 0.17.

    Args:
        embedding: 1 x (1 + n n) x C, the class token's first.
        grid: the (h, w) wanted.

    Returns:
        1 x (1 + h w) x C.
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return embedding
    patches = embedding[:, 1:].unflatten(1, (side, side))  # 1 x n x n x C
    patches = F.interpolate(
        patches.permute(0, 3, 1, 2),  # 1 x C x n x n
        scale_factor=((grid[0] + 0.1) / side, (grid[1] + 0.1) / side),
        mode="bicubic",
    )
    patches = patches.flatten(2).transpose(1, 2)  # 1 x h w x C
    return torch.cat([embedding[:, :1], patches], dim=1)


def random_weights(vit: nn.Module, seed: int = RANDOM_SEED) -> dict[str, Tensor]:
    """An untrained network, the same on every machine: the control of all controls.

    Xavier-uniform matrices, biases 0, norms 1, embeddings of deviation 0.02: the
    state that pre-training starts from.
    """
    random = np.random.RandomState(seed)
    state = {}
    for name, tensor in sorted(vit.state_dict().items()):
        shape = tuple(tensor.shape)
        if len(shape) == 1:
            values = np.full(shape, float(name.endswith("weight")))
        elif name in ("cls_token", "pos_embed"):
            values = 0.02 * random.standard_normal(shape)
        else:
            limit = (6 / (np.prod(shape[1:]) + shape[0])) ** 0.5
            values = random.uniform(-limit, limit, shape)
        state[name] = torch.from_numpy(values).float()
    return state


def read_vit_weights(path: str | Path) -> dict[str, Tensor]:
    """ViT weights by timm's names, in float32, from a file of theirs or of DINO's.

    A JSON of the same name beside it may hold the file's SHA-256, which must agree.
    Checkpoints that wrap the weights (``state_dict``, ``teacher``; ``backbone.``
    before every name) are unwrapped; heads and learners in them are left out.

    Raises:
        CstlibError: missing, damaged, or not a file of weights.
    """
    path = Path(path)
    if not path.is_file():
        raise CstlibError(f"There is no weights file {path}: check the path.")
    expected = weights_notes(path).get("sha256")
    if expected is not None and sha256(path) != expected:
        raise CstlibError(
            f"{path} is not the file that {path.with_suffix('.json').name} describes "
            "(SHA-256 differs): get it anew."
        )
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("state_dict", "teacher", "model"):
            content = content.get(wrapper, content)
        state = {
            name.removeprefix("module.").removeprefix("backbone."): tensor.float()
            for name, tensor in content.items()
        }
    except Exception as error:  # each reader has its own for a damaged file
        raise CstlibError(
            f"Cannot read weights from {path}: it is damaged or of another kind; "
            "get it anew."
        ) from error
    others = ("head.", "learner.")
    return {name: x for name, x in state.items() if not name.startswith(others)}


def shipped_weights(name: str) -> Path:
    """The file that comes with the package.

    Raises:
        CstlibError: it, or the JSON with its SHA-256, is missing.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if path.is_file() and "sha256" in weights_notes(path):
        return path
    raise CstlibError(
        f"The weights of {name} ({path.name} and .json in {path.parent}) are "
        "missing: get them with the repository, or make them with "
        "`python -m cstlib pretrain`."
    )


def local_weights(name: str) -> Path | None:
    """A file that somebody put into ``<data home>/weights``, if there is one."""
    for suffix in (".safetensors", ".pth", ".pt"):
        path = data_home() / "weights" / f"{name}{suffix}"
        if path.is_file():
            return path
    return None


def weights_notes(path: Path) -> dict:
    """The JSON beside a weights file: its SHA-256, threshold and history."""
    notes = path.with_suffix(".json")
    if not notes.is_file():
        return {}
    try:
        return dict(json.loads(notes.read_text(encoding="utf-8")))
    except ValueError as error:
        raise CstlibError(f"{notes} is not JSON: get it anew.") from error


def download_weights(name: str, source: str, architecture: str) -> dict[str, Tensor]:
    """Weights from timm's hub, or one sentence that says how to bring them.

    Raises:
        CstlibError: no network, or ``source`` is an address to fetch by hand.
    """
    by_hand = (
        f"put its weights at {data_home() / 'weights' / name}.pth (or .safetensors), "
        "or name their file as `weights`."
    )
    if source != "hub":
        raise CstlibError(f"{name} is not here: fetch {source} and {by_hand}")
    hub_id = timm.get_pretrained_cfg(architecture).hf_hub_id
    cached = try_to_load_from_cache(hub_id, "model.safetensors")
    if isinstance(cached, str):
        return read_vit_weights(cached)
    try:
        # The hub's client would retry for a minute before it says the same.
        if not any(os.environ.get(v) for v in ("HTTPS_PROXY", "https_proxy")):
            socket.getaddrinfo("huggingface.co", 443)
        vit = timm.create_model(architecture, pretrained=True, num_classes=0)
    except Exception as error:  # the client's exceptions change with its versions
        raise CstlibError(
            f"Cannot download {name} from the hub ({hub_id}): connect this machine to "
            f"the network, or {by_hand}"
        ) from error
    return vit.state_dict()


def load_vit_weights(vit: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Fill every weight, strictly; position embeddings go to the network's grid.

    Raises:
        CstlibError: a name or a shape differs; ``origin`` stands in the sentence.
    """
    wanted = vit.state_dict()
    embedding = state.get("pos_embed")
    if embedding is not None and embedding.ndim == 3:
        grid = tuple(vit.patch_embed.grid_size)
        state = {**state, "pos_embed": interpolate_position_embedding(embedding, grid)}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in wanted.items()}:
        raise CstlibError(
            f"{origin} holds weights of another network: choose the backbone that it "
            "was made for."
        )
    vit.load_state_dict(state, assign=True)
