"""Where a backbone's weights come from: files, timm's hub, or a seed.

Nothing here is part of the method. It sees to it that a name always means the same
weights, and that whatever is missing ends in one sentence.
"""

from __future__ import annotations

import json
import os
import socket
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import numpy as np
import timm
import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors.torch import load_file
from torch import Tensor, nn

from cstlib.backbone_specs import BackboneSpec
from cstlib.errors import CstlibError
from cstlib.files import replacing, sha256
from cstlib.paths import WEIGHTS, data_home

RANDOM_SEED = 0
HUB_FILE = "model.safetensors"
# Batch norm's count of training batches: no weight, and absent from older files.
COUNTER = "num_batches_tracked"


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


def random_weights(network: nn.Module, seed: int = RANDOM_SEED) -> dict[str, Tensor]:
    """An untrained network, the same on every machine: the control of all controls.

    Xavier-uniform matrices, biases 0, norms 1, embeddings of deviation 0.02: the
    state that pre-training starts from. A ResNet's batch norms change nothing.
    """
    random = np.random.RandomState(seed)
    state = {}
    for name, tensor in sorted(network.state_dict().items()):
        shape = tuple(tensor.shape)
        if name.endswith(COUNTER):
            continue
        if len(shape) == 1:
            values = np.full(shape, float(name.endswith(("weight", "running_var"))))
        elif name in ("cls_token", "pos_embed"):
            values = 0.02 * random.standard_normal(shape)
        else:
            limit = (6 / (np.prod(shape[1:]) + shape[0])) ** 0.5
            values = random.uniform(-limit, limit, shape)
        state[name] = torch.from_numpy(values).float()
    return state


def read_vit_weights(path: str | Path) -> dict[str, Tensor]:
    """A network's weights by timm's names, in float32, from a file of theirs or DINO's.

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
        content: Any
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
    others = ("head.", "fc.", "learner.")
    return {
        name: tensor
        for name, tensor in state.items()
        if not (name.startswith(others) or name.endswith(COUNTER))
    }


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
    """The JSON beside a weights file: its SHA-256, threshold and history.

    Raises:
        CstlibError: it is there and no JSON.
    """
    notes = path.with_suffix(".json")
    if not notes.is_file():
        return {}
    try:
        return dict(json.loads(notes.read_text(encoding="utf-8")))
    except ValueError as error:
        raise CstlibError(f"{notes} is not JSON: get it anew.") from error


def fetched_weights(name: str, spec: BackboneSpec) -> Path:
    """The file that an entry's source offers, from its cache or over the network.

    Files from timm's hub stay in the hub's own cache, others go to
    ``<data home>/weights``, whole or not at all. Where the entry knows the file's
    SHA-256, it must agree.

    Raises:
        CstlibError: no network, or what arrived is another file.
    """
    hub_id = getattr(timm.get_pretrained_cfg(spec.architecture), "hf_hub_id", "")
    place = f"{data_home() / 'weights' / name}.pth"
    source = f"https://huggingface.co/{hub_id}" if spec.source == "hub" else spec.source
    by_hand = (
        f"connect this machine to the network, or fetch {source} "
        f"({spec.megabytes:.0f} MB) elsewhere and put the weights at {place} (or "
        ".safetensors)."
    )
    try:
        if spec.source == "hub":
            return _from_hub(hub_id, spec.sha256)
        return _from_address(spec.source, spec.sha256, Path(place))
    except CstlibError:  # the disk is full, say
        raise
    except Exception as error:  # the clients' exceptions change with their versions
        raise CstlibError(
            f"The weights of {name} are not here and cannot be downloaded: {by_hand}"
        ) from error


def _from_hub(hub_id: str, expected: str) -> Path:
    path = try_to_load_from_cache(hub_id, HUB_FILE)
    if not isinstance(path, str):
        _look_up("huggingface.co")
        path = hf_hub_download(hub_id, HUB_FILE)
    _check_sum(Path(path), expected, f"{path} from {hub_id}", "delete it")
    return Path(path)


def _from_address(address: str, expected: str, place: Path) -> Path:
    with replacing(place) as temporary:
        try:
            _look_up(urlsplit(address).hostname or address)
            torch.hub.download_url_to_file(address, str(temporary))
            read_vit_weights(temporary)  # a cut connection leaves half a file
        except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
            raise NoDownload from error  # or `replacing` would blame the disk
        except CstlibError as error:
            raise NoDownload from error
        _check_sum(temporary, expected, f"What {address} sent", "look there")
    return place


def _check_sum(path: Path, expected: str, what: str, todo: str) -> None:
    if expected and sha256(path) != expected:
        raise CstlibError(
            f"{what} is not the file that this backbone stands for (SHA-256 differs): "
            f"{todo}, then try again."
        )


class NoDownload(Exception):
    """The connection failed, or ended too early."""


def _look_up(host: str) -> None:
    """Fail at once without a network; the hub's client would retry for a minute."""
    if not any(os.environ.get(v) for v in ("HTTPS_PROXY", "https_proxy")):
        try:
            socket.getaddrinfo(host, 443)
        except OSError as error:
            raise NoDownload from error


def load_vit_weights(network: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Fill every weight, strictly; position embeddings go to the network's grid.

    Raises:
        CstlibError: a name or a shape differs; ``origin`` stands in the sentence.
    """
    wanted = network.state_dict()
    embedding = state.get("pos_embed")
    if "pos_embed" in wanted and embedding is not None and embedding.ndim == 3:
        patches: Any = network.patch_embed
        grid = tuple(patches.grid_size)
        state = {**state, "pos_embed": interpolate_position_embedding(embedding, grid)}
    counters = {name: torch.tensor(0) for name in wanted if name.endswith(COUNTER)}
    state = {**state, **counters}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in wanted.items()}:
        raise CstlibError(
            f"{origin} holds weights of another network: choose the backbone that it "
            "was made for."
        )
    network.load_state_dict(state, assign=True)
