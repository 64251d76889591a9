"""What is known of the benchmarks' own lists, and how lists at hand compare.

Pascal-5i's lists are known to the letter (SHA-256 of each file), so whoever builds
the same ones has proved that images, masks and rule are the benchmark's. Of
COCO-20i's the numbers of lines and images are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cstlib.data.lists import N_FOLDS, fold_classes, read_list
from cstlib.files import sha256


@dataclass(frozen=True)
class PublishedList:
    """Unique images, lines of each class of the fold, SHA-256 of the file."""

    images: int
    per_class: tuple[int, ...]
    sha256: str

    @property
    def lines(self) -> int:
        """How many lines the file has."""
        return sum(self.per_class)


@dataclass(frozen=True)
class Comparison:
    """``identical`` to what is known of the benchmark, and a line on each list."""

    identical: bool
    lines: tuple[str, ...]


# Unique images, and lines of each class of the fold.
_COUNTS = {
    ("trn", 0): (2279, (528, 428, 583, 371, 376)),
    ("trn", 1): (3309, (367, 848, 987, 988, 235)),
    ("trn", 2): (5030, (504, 1122, 430, 440, 3387)),
    ("trn", 3): (1986, (358, 277, 487, 488, 476)),
    ("val", 0): (345, (80, 57, 86, 58, 65)),
    ("val", 1): (433, (69, 96, 115, 102, 69)),
    ("val", 2): (587, (74, 125, 76, 72, 378)),
    ("val", 3): (326, (58, 49, 90, 82, 67)),
}
_SHA256 = {
    ("trn", 0): "40fded8be6afbc4b70953277f2a178af8055cddd4e73fb4646b7bf19704b9da2",
    ("trn", 1): "558167c3c6fea0cda1bb7c7a275e66d5de7bc13cbc97e00c5872ac84d5f0954e",
    ("trn", 2): "d07e35f4a4ae95774c619bafb57d65d682dbd5b9f33c7f71a4f5cef8e3f99609",
    ("trn", 3): "ffe09100c0c4d9c19d074a33b0f29fe5a89a730579ba39a9f9e908186298ac17",
    ("val", 0): "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df",
    ("val", 1): "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14",
    ("val", 2): "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb",
    ("val", 3): "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a",
}
PASCAL = {key: PublishedList(*_COUNTS[key], _SHA256[key]) for key in _COUNTS}

# (lines, unique images) that training on a fold draws from, and that test it.
COCO = {
    ("trn", 0): (95476, 62040),
    ("trn", 1): (133927, 74381),
    ("trn", 2): (141054, 73035),
    ("trn", 3): (141016, 73808),
    ("val", 0): (35783, 26052),
    ("val", 1): (17912, 15305),
    ("val", 2): (14563, 13138),
    ("val", 3): (14315, 12640),
}


def compare_pascal(
    lists: Path, class_names: tuple[str, ...], published=PASCAL
) -> Comparison:
    """Compare eight list files with Pascal-5i's own, byte by byte.

    A file that differs is shown with its number of lines and the classes that have
    more or fewer of them; equal numbers with other bytes are said to be so.

    Raises:
        CstlibError: a list is missing or malformed.
    """
    lines, same = [], 0
    for (split, fold), known in published.items():
        path = lists / split / f"fold{fold}.txt"
        entries = read_list(path)
        if sha256(path) == known.sha256:
            same += 1
            continue
        differences = []
        for c, wanted in zip(fold_classes(fold), known.per_class, strict=True):
            found = sum(1 for _, listed in entries if listed == c)
            if found != wanted:
                name = class_names[c - 1]
                differences.append(f"{name} {found} ({found - wanted:+d})")
        detail = (
            ", ".join(differences) or "as many of each class, but other images or order"
        )
        images = len({name for name, _ in entries})
        lines.append(
            f"{split}/fold{fold}.txt: {len(entries)} lines of {images} images, the "
            f"benchmark's has {known.lines} of {known.images}; {detail}"
        )
    if not lines:
        return Comparison(True, (f"Lists: all {same} identical to the benchmark.",))
    head = f"Lists: {same} of {len(published)} identical to the benchmark, not these:"
    return Comparison(False, (head, *(f"  {line}" for line in lines)))


def compare_coco(lists: Path, published=COCO) -> Comparison:
    """Compare numbers of lines and images with COCO-20i's.

    Training on fold f draws from the other three folds' lists together.

    Raises:
        CstlibError: a list is missing or malformed.
    """
    found = {
        (split, fold): read_list(lists / split / f"fold{fold}.txt")
        for split in ("trn", "val")
        for fold in range(N_FOLDS)
    }
    lines, same = [], 0
    for (split, fold), (wanted, wanted_images) in published.items():
        folds = [f for f in range(N_FOLDS) if (f == fold) == (split == "val")]
        entries = [entry for f in folds for entry in found[split, f]]
        images = len({name for name, _ in entries})
        if (len(entries), images) == (wanted, wanted_images):
            same += 1
            continue
        lines.append(
            f"{'training on' if split == 'trn' else 'test of'} fold {fold}: "
            f"{len(entries)} lines ({len(entries) - wanted:+d}) of {images} images "
            f"({images - wanted_images:+d})"
        )
    if not lines:
        head = (
            f"Lists: all {same} counts as in the benchmark (its files are not known)."
        )
        return Comparison(True, (head,))
    head = f"Lists: {same} of {len(published)} counts as in the benchmark, not these:"
    return Comparison(False, (head, *(f"  {line}" for line in lines)))
