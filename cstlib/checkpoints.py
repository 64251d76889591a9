"""Save and load learners: this package's checkpoints, and the authors'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cstlib.cst import CST
from cstlib.errors import CstlibError
from cstlib.files import replacing

FORMAT = "cstlib-checkpoint-1"
CHANNEL_ORDERS = ("layer-major", "head-major")

# The authors' names, without "learner.", and this package's. A name stands for all
# that begins with it; the numbers in the authors' are places in their Sequentials.
AUTHORS_LAYER = {
    "attn.short_cut.0": "residual_conv",
    "attn.short_cut.2": "residual_norm",
    "attn.qkv": "qkv",
    "attn.agg.0": "attended_norm",
    "attn.agg.2": "attended_conv",
    "attn.agg.3": "attended_out_norm",
    "attn.out_norm": "norm",
    "ff.ff.0": "feed_forward.0",
    "ff.ff.1": "feed_forward.1",
    "ff.ff.3": "feed_forward.3",
    "ff.out_norm": "out_norm",
}
AUTHORS_NAMES = {
    **{
        f"corrtransformer.{i}.{theirs}": f"layers.{i}.{ours}"
        for i in (0, 1)
        for theirs, ours in AUTHORS_LAYER.items()
    },
    "linear": "projection",
    "decoder1_cls": "classification_head.before",
    "decoder2_cls": "classification_head.after",
    "decoder1_seg": "segmentation_head.before",
    "decoder2_seg": "segmentation_head.after",
}


def save_checkpoint(path: str | Path, **content: Any) -> None:
    """Write a checkpoint, all or nothing.

    Args:
        content: tensors, numbers, strings, lists and dicts. By custom ``learner`` (a
            state dict) and ``config`` (a dict); and what a run needs to go on, such as
            ``optimizer`` and ``rng``.

    Raises:
        CstlibError: the folder cannot be written, or the disk is full.
    """
    with replacing(path) as temporary:
        try:
            torch.save({"format": FORMAT, **content}, temporary)
        except RuntimeError as error:  # torch's word for a disk that is full
            raise CstlibError(
                f"Cannot write {path}: free some disk space or choose another folder."
            ) from error


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, tensors on the CPU.

    Raises:
        CstlibError: missing, damaged, or another kind of file.
    """
    content = _read(path)
    if content.pop("format", None) != FORMAT:
        raise CstlibError(
            f"{path} is not a checkpoint of cstlib: pass a file that "
            "`python -m cstlib train` wrote, such as best.pt."
        )
    return content


def load_learner_weights(
    learner: torch.nn.Module, weights: dict[str, Tensor], origin: str | Path
) -> None:
    """Load a state dict strictly, or say in one sentence why it does not fit.

    Args:
        origin: where the weights are from, for the sentence.

    Raises:
        CstlibError: the learner has other parts, or another number of channels.
    """
    ours = learner.state_dict()
    if ours.keys() != weights.keys():
        raise CstlibError(
            f"{origin} holds another kind of learner: it has {len(weights)} tensors "
            f"where {type(learner).__name__} has {len(ours)}, or other names."
        )
    differing = [name for name in ours if ours[name].shape != weights[name].shape]
    if differing:
        name = differing[0]
        raise CstlibError(
            f"{origin} was made for another number of correlation channels ({name} is "
            f"{_shape(weights[name])} there, {_shape(ours[name])} here): use the "
            "backbone that it was trained with."
        )
    learner.load_state_dict(weights)


def load_authors_checkpoint(
    path: str | Path,
    in_channels: int | None = None,
    channel_order: str = "layer-major",
    heads: int = 6,
) -> CST:
    """The learner in a Lightning checkpoint of the authors' layout, in eval mode.

    Its ``state_dict`` holds the learner as ``learner.*`` and the backbone as
    ``backbone.*``; the latter is frozen and comes from `cstlib.backbones` instead.

    Args:
        in_channels: channels that the learner must take; None takes what is there.
        channel_order: how the file's learner was fed. "layer-major" is equation (2)'s
            order and `correlate`'s. "head-major" puts all layers of a head together;
            the first layer's weights are then moved to layer-major order.
        heads: M of the backbone; used for "head-major" only.

    Raises:
        CstlibError: missing, damaged, another kind of file, or other channels.
    """
    content = _read(path)
    state = content.get("state_dict", content)
    if not isinstance(state, dict):
        state = {}
    weights = {
        name.removeprefix("learner."): tensor
        for name, tensor in state.items()
        if str(name).startswith("learner.") and isinstance(tensor, Tensor)
    }
    learner = authors_learner(weights, path)
    if in_channels not in (None, learner.in_channels):
        raise CstlibError(
            f"The learner in {path} takes {learner.in_channels} correlation channels, "
            f"not {in_channels}: choose the backbone that it was trained with."
        )
    if channel_order == "head-major":
        for name in ("residual_conv", "qkv"):
            weight = learner.get_parameter(f"layers.0.{name}.weight")
            weight.data = _to_layer_major(weight.data, heads)
    elif channel_order != "layer-major":
        raise CstlibError(
            f"No channel order {channel_order!r}: choose {' or '.join(CHANNEL_ORDERS)}."
        )
    return learner


def authors_learner(
    weights: dict[str, Tensor], origin: str | Path = "The dict of weights"
) -> CST:
    """The learner with weights under the authors' names (without ``learner.``).

    Raises:
        CstlibError: weights are missing or of other shapes.
    """
    first = weights.get("corrtransformer.0.attn.short_cut.0.weight")
    if first is None or first.ndim < 2:
        raise CstlibError(
            f"{origin} has no learner in the authors' layout (no weights named "
            "`learner.corrtransformer...`): pass one of their checkpoints."
        )
    learner = CST(in_channels=first.shape[1])
    ours = {_translate(name, AUTHORS_NAMES): x for name, x in weights.items()}
    load_learner_weights(learner, ours, origin)
    return learner.eval()


def to_authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A learner's state dict under the authors' names, with ``learner.`` before."""
    theirs = {ours: name for name, ours in AUTHORS_NAMES.items()}
    return {f"learner.{_translate(name, theirs)}": x for name, x in state.items()}


def _translate(name: str, names: dict[str, str]) -> str:
    """Replace the beginning of a dotted name; unknown names stay as they are."""
    for old, new in names.items():
        if name.startswith(f"{old}."):
            return new + name[len(old) :]
    return name


def _to_layer_major(weight: Tensor, heads: int) -> Tensor:
    """Reorder input channels from m L + l to l M + m."""
    if weight.shape[1] % heads:
        raise CstlibError(
            f"{weight.shape[1]} channels are not those of {heads} heads: pass `heads`."
        )
    return weight.unflatten(1, (heads, -1)).transpose(1, 2).flatten(1, 2)


def _read(path: str | Path) -> dict[str, Any]:
    """A dict from a torch file; nothing in it is executed."""
    path = Path(path)
    if not path.is_file():
        raise CstlibError(f"There is no checkpoint {path}: check the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has a dozen for a damaged file
        raise CstlibError(
            f"Cannot read the checkpoint {path}: it is damaged or of another kind; "
            "restore it, or train anew."
        ) from error
    if not isinstance(content, dict):
        raise CstlibError(f"{path} is not a checkpoint: pass one of a learner.")
    return content


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
