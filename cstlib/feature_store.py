"""All tokens of all images of a world, computed once, then read row by row.

One memory-mapped half-precision array holds a row per image: the class and patch
tokens of every layer, then the last block's class-token query and all its keys.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cstlib.backbones import Backbone, Tokens
from cstlib.errors import CstlibError
from cstlib.feature_files import (
    backbone_for,
    cannot_write,
    drop_older,
    fingerprint,
    listed_images,
    locked,
    numbers,
    unknown_image,
)
from cstlib.live_features import Features
from cstlib.paths import cache_home
from cstlib.worlds import World


class FeatureStore(Features):
    """Tokens of all listed images of a world, from a file that is made on first use.

    The file lies in ``data/cache/features`` under a name made from the contents of
    the images and of the backbone's weights, so it can never be stale. One process
    builds it, in a temporary folder that is then renamed, while others wait. The
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
        backbone = backbone_for(world, backbone, stand_in=not layers)
        image_of = listed_images(world)
        super().__init__(backbone, lambda name: image_of[name](name), device)
        names = sorted(image_of)
        self._kept = len(self.grids) if layers else 0
        self._shapes = self.row_shapes[len(self.grids) - self._kept :]
        self._width = numbers(self._shapes)
        self.bytes = 2 * self._width * len(names)
        key = fingerprint(world, names, self.backbone)
        stem = f"{world.name}-{self.name}" + ("" if layers else "-attention")
        folder = cache_home() / "features" / f"{stem}-{key}"
        if not (folder / "tokens.npy").is_file():
            self._build(folder, names, progress)
            drop_older(folder, stem)
        self.path = folder
        self._rows = {name: row for row, name in enumerate(names)}
        try:
            self._table = np.load(folder / "tokens.npy", mmap_mode="r")
        except FileNotFoundError:  # deleted since, by a process with other contents
            self._build(folder, names, progress)
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
            raise unknown_image(error.args[0]) from error
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        begin = sum(sizes[:first])
        half = torch.from_numpy(self._table[rows, begin:])
        parts = half.to(self.device).float().split(sizes[first:], dim=1)
        shapes = self._shapes[first:]
        return [part.view(len(names), *s) for part, s in zip(parts, shapes)]

    def _build(self, folder: Path, names: list[str], progress: bool) -> None:
        """Fill the table in a folder beside ``folder``, then rename, one at a time."""
        with locked(folder.name):
            if not (folder / "tokens.npy").is_file():
                self._build_alone(folder, names, progress)

    def _build_alone(self, folder: Path, names: list[str], progress: bool) -> None:
        prefix = f".building-{folder.name}-"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            for killed in folder.parent.glob(f"{prefix}*"):
                shutil.rmtree(killed, ignore_errors=True)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix))
        except OSError as error:
            raise cannot_write(folder.parent, error) from error
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
            # Another machine may have been faster: its table is the same.
            if not (folder / "tokens.npy").is_file():
                raise CstlibError(
                    f"Cannot write features to {folder.parent} ({error.strerror}): "
                    f"{self.bytes / 1e9:.1f} GB are needed there."
                ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _fill(self, path: Path, names: list[str], progress: bool) -> None:
        # Written, not mapped: a disk that fills up is then an error and no crash.
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)),
            "fortran_order": False,
            "shape": (len(names), self._width),
        }
        size = f"features, {self.bytes / 1e9:.2f} GB"
        bar = tqdm(total=len(names), desc=size, unit="img", disable=not progress)
        with bar, path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(names), self.images_at_once):
                batch = names[start : start + self.images_at_once]
                file.write(self._rows_of(batch).tobytes())
                bar.update(len(batch))

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
