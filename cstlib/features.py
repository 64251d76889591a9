"""Frozen features: computed once for a set of images, then read row by row.

The backbone never changes, so its tokens need not be computed twice. One memory-mapped
half-precision array holds a row per image: the class and patch tokens of every layer,
then the last block's class-token query and all its keys.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cstlib.backbone_specs import BACKBONES, at_size
from cstlib.backbones import Backbone, Tokens, load_backbone
from cstlib.data.layout import read_layout
from cstlib.errors import CstlibError
from cstlib.half_attention import HalfAttention
from cstlib.paths import cache_home
from cstlib.recent_tokens import RecentTokens
from cstlib.worlds import World

FORMAT = 1
BATCH = 50
# What does not fit below this is computed anew for every batch (Pascal: 280 GB).
MOST_BYTES = 8 * 2**30
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
        self.recent = RecentTokens(
            self._compute,
            at_once=max(1, BATCH * TOKENS // (self.grid[0] * self.grid[1])),
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
        with torch.autocast(self.device.type, torch.bfloat16), HalfAttention():
            return self.backbone(images).to(torch.float32)


class FeatureStore(Features):
    """Tokens of all listed images of a world, from a file that is made on first use.

    The file lies in ``data/cache/features`` under a name made from the contents of
    the images and of the backbone's weights, so it can never be stale; it is built
    in a temporary folder and renamed, so several processes may want it at once. The
    miniature takes about 0.9 GB and half a minute on two cores.

    Args:
        world: whose lists say which images are needed.
        backbone: a name, or the loaded module.
        layers: keep the layers' tokens; without them (60 MB) only `attention` works,
            and random weights by name come at the world's image size (`at_size`).

    Raises:
        CstlibError: an image cannot be read, or the disk is full or not writable.
    """

    def __init__(
        self,
        world: World,
        backbone: str | Backbone,
        device: str | torch.device | None = None,
        progress: bool = True,
        layers: bool = True,
    ) -> None:
        backbone = _backbone_for(world, backbone, stand_in=not layers)
        image_of = listed_images(world)
        super().__init__(backbone, lambda name: image_of[name](name), device)
        names = sorted(image_of)
        self._kept = len(self.grids) if layers else 0
        self._shapes = self.row_shapes[len(self.grids) - self._kept :]
        self._width = _numbers(self._shapes)
        self.bytes = 2 * self._width * len(names)
        key = _fingerprint(world, names, self.backbone)
        stem = f"{world.name}-{self.name}" + ("" if layers else "-attention")
        folder = cache_home() / "features" / f"{stem}-{key}"
        if not (folder / "tokens.npy").is_file():
            self._build(folder, names, progress)
            _drop_older(folder, stem)
        self.path = folder
        self._rows = {name: row for row, name in enumerate(names)}
        self._table = np.load(folder / "tokens.npy", mmap_mode="r")

    def tokens(self, names: list[str]) -> Tokens:
        """Float32 tokens of these images, in order, on ``device``.

        Raises:
            CstlibError: an image is on no list of the world.
        """
        if not self._kept:
            raise ValueError("this store was opened with layers=False")
        *layers, attn_q, attn_k = self._gather(names, 0)
        return Tokens(
            cls=[layer[:, 0] for layer in layers],
            patches=[layer[:, 1:] for layer in layers],
            grids=self.grids,
            heads=self.heads,
            attn_q=attn_q,
            attn_k=attn_k,
        )

    def support_tokens(self, names: list[str]) -> Tokens:
        return self.tokens(names)

    def expect(self, supports: list[str]) -> None:
        """Nothing to prepare."""

    def attention(self, names: list[str]) -> Tokens:
        attn_q, attn_k = self._gather(names, self._kept)
        return Tokens([], [], self.grids, self.heads, attn_q, attn_k)

    def _gather(self, names: list[str], first: int) -> list[Tensor]:
        """Float32 parts of the rows of ``names``, from part number ``first`` on."""
        try:
            rows = [self._rows[name] for name in names]
        except KeyError as error:
            raise CstlibError(
                f"Image {error.args[0]} is on none of the lists that features were "
                "computed for: check the name, or compute its tokens directly."
            ) from error
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        begin = sum(sizes[:first])
        half = torch.from_numpy(self._table[rows, begin:])
        parts = half.to(self.device).float().split(sizes[first:], dim=1)
        shapes = self._shapes[first:]
        return [part.view(len(names), *s) for part, s in zip(parts, shapes)]

    def _build(self, folder: Path, names: list[str], progress: bool) -> None:
        """Fill the table in a folder beside ``folder``, then rename."""
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
        except OSError as error:
            raise CstlibError(
                f"Cannot write features to {folder.parent} ({error.strerror}): set "
                "CSTLIB_DATA to a folder that you may write to."
            ) from error
        try:
            free = shutil.disk_usage(temporary).free
            if free < self.bytes:
                raise CstlibError(
                    f"The features need {self.bytes / 1e9:.1f} GB in {folder.parent}, "
                    f"where {free / 1e9:.1f} GB are free: make room, or set "
                    "CSTLIB_DATA to a folder on another disk."
                )
            self._fill(temporary / "tokens.npy", names, progress)
            meta = {"backbone": self.name, "images": len(names), "bytes": self.bytes}
            (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
            temporary.chmod(0o755)
            temporary.rename(folder)
        except OSError as error:
            # Another process may have been faster: its table is the same.
            if not (folder / "tokens.npy").is_file():
                raise CstlibError(
                    f"Cannot write features to {folder.parent} ({error.strerror}): "
                    f"{self.bytes / 1e9:.1f} GB are needed there."
                ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _fill(self, path: Path, names: list[str], progress: bool) -> None:
        table = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float16, shape=(len(names), self._width)
        )
        size = f"features, {self.bytes / 1e9:.2f} GB"
        with tqdm(total=len(names), desc=size, unit="img", disable=not progress) as bar:
            for start in range(0, len(names), BATCH):
                batch = names[start : start + BATCH]
                table[start : start + len(batch)] = self._rows_of(batch)
                bar.update(len(batch))
        table.flush()

    @torch.inference_mode()
    def _rows_of(self, names: list[str]) -> np.ndarray:
        """Half-precision rows, B x width, straight from the backbone."""
        found = self._compute(names)
        parts = [
            torch.cat([cls[:, None], patches], dim=1).flatten(1)  # B x (1+N) C
            for cls, patches in zip(found.cls, found.patches)
        ]
        parts = parts[: self._kept]
        parts += [found.attn_q[:, :, :1].flatten(1), found.attn_k.flatten(1)]
        return torch.cat(parts, dim=1).half().cpu().numpy()


def open_features(
    world: World,
    backbone: str | Backbone,
    device: str | torch.device | None = None,
    progress: bool = True,
    precision: str = "fp32",
    layers: bool = True,
) -> Features:
    """A `FeatureStore` where its file stays small enough, else live `Features`.

    ViT-S/8 at 400 x 400 pixels makes 23 MB of tokens an image: those of Pascal would
    fill 280 GB, and reading them would take longer than computing them.

    Args:
        backbone: a name or a module. Without layers, as a control that only attends,
            random weights by name come at the world's image size (`at_size`).
        precision: of the backbone where it runs live; a store is always made in fp32.
        layers: as for `FeatureStore`.
    """
    backbone = _backbone_for(world, backbone, stand_in=not layers)
    image_of = listed_images(world)
    live = Features(backbone, lambda name: image_of[name](name), device, precision)
    kept = live.row_shapes if layers else live.row_shapes[live.layers :]
    if 2 * _numbers(kept) * len(image_of) > MOST_BYTES:
        return live
    return FeatureStore(world, backbone, device, progress, layers)


def _backbone_for(world: World, backbone: str | Backbone, stand_in: bool) -> Backbone:
    """The backbone, by its name too; with ``stand_in`` as `at_size` finds it."""
    if isinstance(backbone, str):
        if stand_in and backbone in BACKBONES:
            backbone = at_size(backbone, world.image_size)
        backbone = load_backbone(backbone)
    if backbone.image_size != world.image_size:
        raise CstlibError(
            f"Backbone {backbone.name} looks at images of {backbone.image_size} "
            f"pixels, {world.name} has {world.image_size}: choose another backbone."
        )
    return backbone


def _numbers(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def listed_images(world: World) -> dict[str, Callable[[str], Tensor]]:
    """Every image on a list of the world -> the function that loads it, 3 x S x S."""
    found: dict[str, Callable[[str], Tensor]] = {}
    for split in ("trn", "val"):
        for fold in range(world.n_folds):
            dataset = world.dataset(fold, split)
            found.update(dict.fromkeys(dataset.names, dataset.image))
    return found


def _fingerprint(world: World, names: Iterable[str], backbone: Backbone) -> str:
    """What the table depends on: every weight, every image's bytes, the format."""
    digest = hashlib.sha256(f"{FORMAT} {backbone.name} {world.image_size}".encode())
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    layout = read_layout(world.root)
    for name in names:
        digest.update(name.encode())
        path = layout.image_path(name)
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _drop_older(folder: Path, stem: str) -> None:
    """Delete tables of the same world and backbone whose contents have changed since.

    Each takes a gigabyte. Where one is still in use (Windows), it stays.
    """
    for other in folder.parent.glob(f"{stem}-*"):
        if other != folder and len(other.name) == len(folder.name):
            shutil.rmtree(other, ignore_errors=True)
