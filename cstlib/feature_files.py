"""What the tables of features on disk share: names that tell contents, and locks."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from torch import Tensor

from cstlib.backbone_specs import BACKBONES, at_size
from cstlib.backbones import Backbone, load_backbone
from cstlib.data.layout import read_layout
from cstlib.errors import CstlibError
from cstlib.paths import cache_home
from cstlib.worlds import World

FORMAT = 1


def listed_images(world: World) -> dict[str, Callable[[str], Tensor]]:
    """Every image on a list of the world -> the function that loads it, 3 x S x S."""
    found: dict[str, Callable[[str], Tensor]] = {}
    for split in ("trn", "val"):
        for fold in range(world.n_folds):
            dataset = world.dataset(fold, split)
            found.update(dict.fromkeys(dataset.names, dataset.image))
    return found


def backbone_for(
    world: World, backbone: str | Backbone, stand_in: bool = False
) -> Backbone:
    """The backbone, by its name too.

    Args:
        stand_in: random weights by name come at the world's image size (`at_size`).

    Raises:
        CstlibError: there is none, or it looks at images of another size.
    """
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


def numbers(shapes: Iterable[tuple[int, ...]]) -> int:
    """How many numbers arrays of these shapes hold."""
    return sum(int(np.prod(shape)) for shape in shapes)


def unknown_image(name: str) -> CstlibError:
    """What to raise for an image that no table knows."""
    return CstlibError(
        f"Image {name} is on none of the lists that features were computed for: check "
        "the name, or compute its tokens directly."
    )


def cannot_write(folder: Path, error: OSError) -> CstlibError:
    """What to raise where features cannot be kept."""
    return CstlibError(
        f"Cannot write features to {folder} ({error.strerror}): set CSTLIB_DATA to a "
        "folder that you may write to, or CSTLIB_CACHE_GB to 0."
    )


def weights_fingerprint(world: World, backbone: Backbone) -> hashlib._Hash:
    """A digest, to be continued, of the format, the image size and every weight."""
    digest = hashlib.sha256(f"{FORMAT} {backbone.name} {world.image_size}".encode())
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest


def fingerprint(world: World, names: Iterable[str], backbone: Backbone) -> str:
    """What a table depends on: every weight, every image's bytes, the format."""
    digest = weights_fingerprint(world, backbone)
    layout = read_layout(world.root)
    for name in names:
        digest.update(name.encode())
        path = layout.image_path(name)
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def drop_older(folder: Path, stem: str) -> None:
    """Delete tables of the same world and backbone whose contents have changed since.

    Each takes a gigabyte. A process that still reads one keeps what it has opened;
    where an open file cannot be deleted (Windows), it stays.
    """
    for other in folder.parent.glob(f"{stem}-*"):
        if other != folder and len(other.name) == len(folder.name):
            shutil.rmtree(other, ignore_errors=True)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Be the only process on this machine that is making the table of that name.

    Released by the operating system where a process dies.

    Raises:
        CstlibError: the cache's folder cannot be written.
    """
    folder = cache_home() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            print(
                f"cstlib: another process is making {name}: waiting for it.",
                file=sys.stderr,
            )
            lock.acquire()
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        lock.release()
