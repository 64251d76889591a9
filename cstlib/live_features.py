"""Frozen features by image name, straight from the backbone.

What keeps them on disk (`cstlib.feature_store`, `cstlib.pooled_store`) is built on this.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cstlib.backbones import Backbone, Tokens, load_backbone
from cstlib.errors import CstlibError
from cstlib.recent_tokens import RecentTokens

# Images that go through the backbone at once, at 144 tokens; fewer at more.
BATCH = 50
# Pairs of a query and a support image that go through the learner at once. On a CPU
# few enough for the memory of a step to be used again by the next: four at 144 query
# tokens, one where there are more. On a GPU many.
PAIRS = {"cpu": 4}
PAIRS_ELSEWHERE = 48
PAPERS_BATCH = 12
TOKENS = 144
# Memory for the supports of the episode at hand, where nothing is kept on disk.
SUPPORT_BYTES = 192 * 2**20


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default a GPU if there is one, else the CPU.

    Raises:
        CstlibError: this machine has no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch has no type of its own
        raise CstlibError(
            f"This machine has no device {str(name)!r}: choose cpu, or leave --device "
            "out to use what there is."
        ) from error
    return device


def keep_freed_memory() -> None:
    """Have glibc keep what tensors leave behind for those that follow.

    It hands larger blocks back to the system, which brings them anew, page by page, at
    every step, up to the size of the largest block that it has seen freed. So one of
    nearly 32 MB, the most that it takes notice of, is shown to it.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


class Features:
    """Tokens by image name, straight from the backbone; the last few are remembered.

    ``precision`` "bf16" runs the backbone in automatic mixed precision; its tokens
    are float32 all the same. ``channels`` is L * M, the correlation's channels, with
    ``layers`` L and ``heads`` M; ``width`` the C of a last-layer token; ``grid`` the
    (h, w) of the query tokens; ``threshold`` and ``output_threshold`` go with the
    backbone's pseudo-masks.
    """

    def __init__(
        self,
        backbone: str | Backbone,
        image: Callable[[str], Tensor],
        device: str | torch.device | None = None,
        precision: str = "fp32",
    ) -> None:
        if isinstance(backbone, str):
            backbone = load_backbone(backbone)
        self.device = pick_device(device)
        self.precision = precision
        self.backbone = backbone.to(self.device).eval()
        if self.device.type == "cpu":
            keep_freed_memory()
        self.name = backbone.name
        self.threshold = backbone.threshold
        self.output_threshold = backbone.output_threshold
        self.image_size = backbone.image_size
        self._image = image
        size = (1, 3, backbone.image_size, backbone.image_size)
        one = self._run(torch.zeros(size))
        self.heads = one.heads
        self.grids = one.grids
        self.grid = max(one.grids)  # a CNN's maps are brought to the largest
        self.layers = len(one.cls)
        self.channels = self.layers * one.heads
        self.width = one.patches[-1].shape[2]
        # A row's parts: (1 + N_l) x C_l for every layer, then queries and keys.
        self.row_shapes: list[tuple[int, ...]] = [
            *((1 + p.shape[1], p.shape[2]) for p in one.patches),
            (one.attn_k.shape[1], 1, one.attn_k.shape[3]),
            tuple(one.attn_k.shape[1:]),
        ]
        self.images_at_once = max(1, BATCH * TOKENS // (self.grid[0] * self.grid[1]))
        self.recent = RecentTokens(
            self._compute,
            at_once=self.images_at_once,
            full=2 * self.pairs_at_once,
            small=SUPPORT_BYTES if self.device.type == "cpu" else 8 * SUPPORT_BYTES,
        )

    @property
    def pairs_at_once(self) -> int:
        """How many pairs of images to give the learner at once on this device."""
        tokens = self.grid[0] * self.grid[1]
        if self.device.type in PAIRS:
            return max(1, PAIRS[self.device.type] * TOKENS // max(TOKENS, tokens))
        return max(PAPERS_BATCH, PAIRS_ELSEWHERE * TOKENS // max(TOKENS, tokens))

    def tokens(self, names: list[str]) -> Tokens:
        """Float32 tokens of these images, in order, on ``device``.

        Raises:
            CstlibError: an image is missing, unreadable or unknown.
        """
        return self.recent.full(names)

    def support_tokens(self, names: list[str]) -> Tokens:
        """As `tokens`, for supports: possibly pooled to `correlate`'s support grid."""
        return self.recent.pooled(names)

    def attention(self, names: list[str]) -> Tokens:
        """The last block's queries and keys alone: all that pseudo-masks need."""
        return self.recent.attention(names)

    def expect(self, supports: list[str]) -> None:
        """Say before all else that these images are supports, and nothing more.

        Of an image that is first met otherwise, all layers stay in memory for a while.
        """
        self.recent.expect(supports)

    def forget_full(self) -> None:
        """The queries at hand are done with: their memory may be used for others."""
        self.recent.forget_full()

    def _compute(self, names: list[str]) -> Tokens:
        return self._run(torch.stack([self._image(name) for name in names]))

    # Not inference_mode, also within it: what is remembered may enter autograd later.
    @torch.inference_mode(False)
    @torch.no_grad()
    def _run(self, images: Tensor) -> Tokens:
        images = images.to(self.device)
        if self.precision != "bf16":
            return self.backbone(images)
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.backbone(images).to(torch.float32)
