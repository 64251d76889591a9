"""Frozen backbones behind one function: images in, `Tokens` of every layer out.

Equations 1-2 read the class and patch tokens of all layers, equation 9 the queries
and keys of the last block. A backbone knows nothing of episodes, and never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cstlib.backbone_specs import BACKBONES, BackboneSpec
from cstlib.backbone_weights import (
    fetched_weights,
    load_vit_weights,
    local_weights,
    random_weights,
    read_vit_weights,
    shipped_weights,
    weights_notes,
)
from cstlib.errors import CstlibError
from cstlib.many_tokens import attention, linear
from cstlib.paths import WEIGHTS

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneSpec",
    "Tokens",
    "build_network",
    "load_backbone",
    "mini_vit",
]


@dataclass
class Tokens:
    """What a frozen backbone says about a batch of B images.

    Attributes:
        cls: for each of the L layers, B x C class tokens.
        patches: for each layer, B x N x C patch tokens, row by row from the top left.
            Both come after the final LayerNorm.
        grids: for each layer, the (h, w) of its patches; N = h w.
        heads: M, the heads that a token's C channels split into.
        attn_q: last block's queries, as its softmax gets them, B x M x (1+N) x d, the
            class token's first. A cache may keep the class token's alone: B x M x 1 x d.
        attn_k: last block's keys, B x M x (1+N) x d, likewise.
    """

    cls: list[Tensor]
    patches: list[Tensor]
    grids: list[tuple[int, int]]
    heads: int
    attn_q: Tensor
    attn_k: Tensor

    @property
    def batch_size(self) -> int:
        """B, the number of images."""
        return self.attn_k.shape[0]

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Tokens:
        """Choose images. The batch axis stays, also for a single number."""
        if isinstance(index, int):
            index = range(self.batch_size)[index]  # IndexError ends a for loop
            index = slice(index, index + 1)
        return self._map(lambda tensor: tensor[index])

    def to(self, *args, **kwargs) -> Tokens:
        """As `torch.Tensor.to`: another device or number type."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    @staticmethod
    def cat(parts: Iterable[Tokens]) -> Tokens:
        """Join batches of the same backbone."""
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]
        return replace(
            parts[0],
            cls=[torch.cat(layer) for layer in zip(*(p.cls for p in parts))],
            patches=[torch.cat(layer) for layer in zip(*(p.patches for p in parts))],
            attn_q=torch.cat([p.attn_q for p in parts]),
            attn_k=torch.cat([p.attn_k for p in parts]),
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> Tokens:
        return replace(
            self,
            cls=[function(tensor) for tensor in self.cls],
            patches=[function(tensor) for tensor in self.patches],
            attn_q=function(self.attn_q),
            attn_k=function(self.attn_k),
        )


class Backbone(nn.Module):
    """A frozen ViT that normalises images by itself and returns `Tokens`.

    Attributes:
        name: its entry in `BACKBONES`.
        image_size, patch_size: pixels; images are square.
        threshold: of equation 11, the one that goes with these weights.
        output_threshold: likewise, for masks from the output tokens (Table 6).
    """

    mean: Tensor  # 1 x 3 x 1 x 1, as std
    std: Tensor

    def __init__(
        self,
        name: str,
        vit: VisionTransformer,
        spec: BackboneSpec,
        threshold: float,
        output_threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.image_size = spec.image_size
        self.patch_size = vit.patch_embed.patch_size[0]
        self.threshold = threshold
        self.output_threshold = (
            threshold if output_threshold is None else output_threshold
        )
        self.vit = vit.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, also inside a model that is being trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tokens:
        """Tokens of B x 3 x S x S images with values in [0, 1].

        Raises:
            CstlibError: the images are not of this backbone's size.
        """
        self._check(images)
        vit: Any = self.vit
        x = vit.patch_embed((images - self.mean) / self.std)
        x = vit.norm_pre(vit._pos_embed(x))  # B x (1+N) x C
        layers = []
        for block in vit.blocks:
            q, k, v = _queries_keys_values(block.attn, block.norm1(x))
            x = x + block.ls1(_joined(block.attn, attention(q, k, v)))
            hidden = linear(block.mlp.fc1, block.norm2(x), gelu=True)
            x = x + block.ls2(linear(block.mlp.fc2, hidden))
            layers.append(vit.norm(x))
        return Tokens(
            cls=[layer[:, 0] for layer in layers],  # L times B x C
            patches=[layer[:, vit.num_prefix_tokens :] for layer in layers],
            grids=[tuple(vit.patch_embed.grid_size)] * len(layers),
            heads=vit.blocks[-1].attn.num_heads,
            attn_q=q.contiguous(),  # B x M x (1+N) x d
            attn_k=k.contiguous(),
        )

    def _check(self, images: Tensor) -> None:
        size = self.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise CstlibError(
                f"{self.name} looks at images of B x 3 x {size} x {size}, not "
                f"{' x '.join(map(str, images.shape))}: resize them first."
            )


def _queries_keys_values(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of one block's attention, B x M x (1+N) x d each."""
    qkv = linear(attn.qkv, x).unflatten(2, (3, attn.num_heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return attn.q_norm(q), attn.k_norm(k), v  # DINO's own has no such norm


def _joined(attn: Any, heads: Tensor) -> Tensor:
    """What the heads found, B x M x (1+N) x d -> B x (1+N) x C."""
    return linear(attn.proj, heads.transpose(1, 2).flatten(2))


def mini_vit(multi_size: bool = False, drop_path: float = 0.0) -> VisionTransformer:
    """The course's small ViT: 96-pixel images, 12 x 12 tokens, 12 blocks of 6 heads.

    Twelve blocks of six heads give the same 72 correlation channels as ViT-S/8, so
    the learner on top is exactly the published one. Xavier initialisation ("jax" in
    timm), because DINO's standard deviation of 0.02 is too small at width 96. Queries
    and keys all have one length (`UnitScale`), so that attention weighs tokens by the
    cosine of equation (9) and nothing else.

    Args:
        multi_size: accept images of any multiple of 8 pixels, with interpolated
            position embeddings (pre-training looks at small crops).
        drop_path: in training, the share of images for which the last block's two
            branches are skipped; earlier blocks less often, in proportion.
    """
    vit = VisionTransformer(
        img_size=96,
        patch_size=8,
        embed_dim=96,
        depth=12,
        num_heads=6,
        mlp_ratio=4.0,
        num_classes=0,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        weight_init="jax",
        dynamic_img_size=multi_size,
        drop_path_rate=drop_path,
    )
    for block in vit.blocks:
        attention = block.get_submodule("attn")
        attention.q_norm = UnitScale()
        attention.k_norm = UnitScale()
    return vit


class UnitScale(nn.Module):
    """Gives vectors of d channels the length sqrt(d / 2): directions stay, lengths go.

    Without it a small ViT hides its choice in the lengths of a few keys: the class
    token then reads a handful of tokens, and cosines (equation 9) say nothing of
    objects. On queries and keys of 16 channels, the softmax sees twice the cosine: so
    little that objects and ground must be far apart in it. A root mean square norm
    without weights (Zhang and Sennrich, NeurIPS 2019), on queries and keys as in
    Dehghani et al., ICML 2023, section 2.
    """

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors along the last axis, of any shape before it."""
        return F.rms_norm(vectors, vectors.shape[-1:], eps=1e-6) * 0.5**0.5


def build_network(spec: BackboneSpec) -> nn.Module:
    """The network of an entry on torch's "meta" device: shapes only, no numbers at all.

    So no weight can be left at random by mistake, and nobody's random stream moves.
    """
    size: dict[str, Any] = {} if spec.convolutional else {"img_size": spec.image_size}
    if spec.width:
        size["embed_dim"] = spec.width
    with torch.device("meta"):
        if not spec.architecture:
            return mini_vit()
        return timm.create_model(spec.architecture, num_classes=0, **size)


def load_backbone(name: str, weights: str | Path | None = None) -> Backbone:
    """Build a frozen backbone with its weights.

    Without ``weights``, a file ``<name>.safetensors``, ``.pth`` or ``.pt`` in
    ``<data home>/weights`` comes before a download.

    Args:
        name: one of `BACKBONES`.
        weights: a file to read instead: safetensors or a torch checkpoint, with
            timm's or DINO's own names.

    Raises:
        CstlibError: no such backbone; its weights are missing, damaged or of another
            network.
    """
    if name not in BACKBONES:
        raise CstlibError(f"No backbone {name!r}: choose among {', '.join(BACKBONES)}.")
    spec = BACKBONES[name]
    network = build_network(spec)
    if spec.source == "seed" and weights is None:
        path, state = None, random_weights(network)
    else:
        path = Path(weights) if weights is not None else _weights_file(name, spec)
        state = read_vit_weights(path)
    load_vit_weights(network, state, origin=str(path or name))
    notes = weights_notes(path or WEIGHTS / f"{name}.safetensors")
    threshold = float(notes.get("threshold", spec.threshold))
    if spec.convolutional:
        from cstlib.resnet_backbone import ResNetBackbone

        return ResNetBackbone(name, cast(ResNet, network), spec, threshold)
    vit = cast(VisionTransformer, network)
    return Backbone(name, vit, spec, threshold, notes.get("output_threshold"))


def _weights_file(name: str, spec: BackboneSpec) -> Path:
    """The file of a backbone's weights: shipped, put there by hand, or fetched."""
    if spec.source == "package":
        return shipped_weights(name)
    return local_weights(name) or fetched_weights(name, spec)
