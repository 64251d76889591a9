"""Where all tokens are too many: pooled supports and keys on disk, queries live.

A support enters the correlation pooled to 12 x 12 tokens a layer, 1.3 MB an image for
ViT-S/8 where its full tokens are 23 MB (half precision); the keys that pseudo-masks ask
for are 1.9 MB more. A query needs its full tokens, which are computed anew.

Rows are filled as images are asked for, by any number of processes at once: nobody waits
for hours before the first step. A row counts only if its seal fits, a digest of the
image's file and of the row itself. So a changed image, a row that another process is
just writing and one that a power cut tore are all the same: not there yet.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cstlib.backbones import Backbone, Tokens
from cstlib.correlation import SUPPORT_GRID
from cstlib.data.layout import read_layout
from cstlib.feature_files import (
    backbone_for,
    cannot_write,
    drop_older,
    listed_images,
    numbers,
    unknown_image,
    weights_fingerprint,
)
from cstlib.live_features import Features
from cstlib.paths import cache_home
from cstlib.worlds import World

SEAL = 16  # bytes
# Room that is left on the disk for checkpoints and everybody else.
RESERVE = 10**9


class SealedRows:
    """A file with a row of half-precision numbers for each image, filled one by one.

    The file is sparse: it takes the room of the rows that are there.

    Args:
        width: numbers in a row.
        content: what an image's file holds, by name.
    """

    def __init__(
        self, path: Path, names: list[str], width: int, content: Callable[[str], bytes]
    ) -> None:
        self._rows = {name: row for row, name in enumerate(names)}
        self._stride = 2 * width + SEAL
        self._content, self._folder = content, path.parent
        self._contents: dict[str, bytes] = {}
        self._sound: set[str] = set()
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._file = path.open("r+b", buffering=0)
            self._file.truncate(self._stride * len(names))
        except OSError as error:
            raise cannot_write(path.parent, error) from error
        shape = (len(names), self._stride)
        self._map = np.memmap(self._file, np.uint8, "r", shape=shape)

    def read(self, name: str) -> np.ndarray | None:
        """The row of an image, 1-D float16; None where there is none (yet).

        Raises:
            CstlibError: the image is on no list.
        """
        if name not in self._rows:
            raise unknown_image(name)
        row = self._map[self._rows[name]]
        if name not in self._sound:
            seal = row[-SEAL:].tobytes()
            if seal != self._seal(name, row[:-SEAL]):
                return None
            self._sound.add(name)
        return row[:-SEAL].view(np.float16)

    def write(self, name: str, values: np.ndarray) -> None:
        """Keep a row, 1-D; on a full disk say so once, and keep no more."""
        if self._closed:
            return
        row = values.astype(np.float16, copy=False).view(np.uint8)
        sealed = row.tobytes() + self._seal(name, row)
        try:
            if shutil.disk_usage(self._folder).free < RESERVE + self._stride:
                raise OSError(errno.ENOSPC, "less than a gigabyte is free")
            # One call of the system: a mapped page would crash where the disk is full.
            self._file.seek(self._rows[name] * self._stride)
            self._file.write(sealed)
        except OSError as error:
            self._closed = True
            print(
                f"cstlib: note: no more features are kept in {self._folder} "
                f"({error.strerror}): the others are computed anew each time.",
                file=sys.stderr,
            )

    def _seal(self, name: str, row: np.ndarray) -> bytes:
        if name not in self._contents:
            # Once: should the file change while this process runs, its tokens are of
            # what was there before.
            content = self._content(name)
            self._contents[name] = hashlib.blake2b(content, digest_size=SEAL).digest()
        digest = hashlib.blake2b(self._contents[name], digest_size=SEAL)
        digest.update(row.data)
        return digest.digest()


class PooledStore(Features):
    """Live features whose supports and keys are kept on disk once they were computed.

    Args:
        world: whose lists say which images there are.
        precision: of the backbone; each has tables of its own.
        keys: keep keys too, for pseudo-masks; else the pooled supports alone.

    Raises:
        CstlibError: the cache's folder cannot be written.
    """

    def __init__(
        self,
        world: World,
        backbone: str | Backbone,
        device: str | torch.device | None = None,
        precision: str = "fp32",
        keys: bool = True,
    ) -> None:
        image_of = listed_images(world)
        backbone = backbone_for(world, backbone)
        super().__init__(backbone, lambda name: image_of[name](name), device, precision)
        names = sorted(image_of)
        stem = f"{world.name}-{self.name}-pooled-{precision}"
        digest = weights_fingerprint(world, self.backbone)
        digest.update("\n".join(names).encode())
        self.path = cache_home() / "features" / f"{stem}-{digest.hexdigest()[:16]}"
        if not self.path.is_dir():
            drop_older(self.path, stem)
        layout = read_layout(world.root)

        def rows(name: str, shapes: list[tuple[int, ...]]) -> SealedRows:
            def content(image: str) -> bytes:
                return layout.image_path(image).read_bytes()

            return SealedRows(self.path / name, names, numbers(shapes), content)

        self._pooled = rows("pooled.rows", pooled_shapes(self))
        self._keys = rows("keys.rows", key_shapes(self)) if keys else None

    def support_tokens(self, names: list[str]) -> Tokens:
        """Float32 tokens pooled to `correlate`'s support grid, in order, on ``device``.

        Raises:
            CstlibError: an image is on no list of the world, missing or unreadable.
        """
        *layers, attn_q, attn_k = self._gather(
            self._pooled, names, self.recent.pooled, pooled_shapes(self)
        )
        return Tokens(
            cls=[layer[:, 0] for layer in layers],
            patches=[layer[:, 1:] for layer in layers],
            grids=[(SUPPORT_GRID, SUPPORT_GRID)] * len(layers),
            heads=self.heads,
            attn_q=attn_q,
            attn_k=attn_k,
        )

    def expect(self, supports: list[str]) -> None:
        """As for `Features`, of those images whose pooled tokens are not kept yet.

        Raises:
            CstlibError: an image is on no list of the world, missing or unreadable.
        """
        missing = [name for name in supports if self._pooled.read(name) is None]
        if missing:
            self.recent.expect(missing)

    def attention(self, names: list[str]) -> Tokens:
        """The class token's query and all keys; errors as in `support_tokens`."""
        if self._keys is None:
            return super().attention(names)
        found = self._gather(self._keys, names, self.recent.attention, key_shapes(self))
        return Tokens([], [], self.grids, self.heads, *found)

    def _gather(
        self,
        table: SealedRows,
        names: list[str],
        live: Callable[[list[str]], Tokens],
        shapes: list[tuple[int, ...]],
    ) -> list[Tensor]:
        """Float32 parts of rows. What is computed is rounded as if it had been read."""
        kept = {name: table.read(name) for name in dict.fromkeys(names)}
        found = {name: row for name, row in kept.items() if row is not None}
        missing = [name for name in kept if name not in found]
        if missing:
            rows = _packed(live(missing))  # B x width
            for name, row in zip(missing, rows):
                table.write(name, row)
                found[name] = row
        half = torch.from_numpy(np.stack([found[name] for name in names]))
        sizes = [numbers([shape]) for shape in shapes]
        parts = half.to(self.device).float().split(sizes, dim=1)
        return [part.view(len(names), *s) for part, s in zip(parts, shapes)]


def pooled_shapes(features: Features) -> list[tuple[int, ...]]:
    """A pooled row's parts: (1 + 144) x C_l for every layer, class-token query and key."""
    layers = features.row_shapes[: len(features.grids)]
    one = features.row_shapes[-2]
    return [*((1 + SUPPORT_GRID**2, shape[1]) for shape in layers), one, one]


def key_shapes(features: Features) -> list[tuple[int, ...]]:
    """A row of keys' parts: M x 1 x d of the query, M x (1 + N) x d of the keys."""
    return features.row_shapes[-2:]


def _packed(tokens: Tokens) -> np.ndarray:
    """Half-precision rows, B x width, in the order of the shapes."""
    parts = [
        torch.cat([cls[:, None], patches], dim=1).flatten(1)
        for cls, patches in zip(tokens.cls, tokens.patches)
    ]
    parts += [tokens.attn_q.flatten(1), tokens.attn_k.flatten(1)]
    return torch.cat(parts, dim=1).half().cpu().numpy()
