"""One loader for every benchmark in the VOC layout: Mini-5i, Pascal-5i and others.

    JPEGImages/<name>.png or .jpg
    SegmentationClassAug/<name>.png, or else SegmentationClass/<name>.png
    ImageSets/FewShot/trn/fold0.txt ... val/fold3.txt    lines name__class
    ImageSets/FewShot/labels.json                        {name: [class ids]}
    meta.json                                            class names (optional), and
                                                         what `layout` reads from it

Which classes an image shows comes from ``labels.json`` and the lists, both written
when the data were built. Masks are opened in one method, `VocDataset.mask`, so that
training from image-level labels can be shown never to read one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cstlib.data import sampler
from cstlib.data.episode import Episode, EpisodePlan
from cstlib.data.layout import Layout, read_layout
from cstlib.data.lists import (
    AGAIN,
    N_CLASSES,
    check_protocol,
    check_task,
    fold_table,
    images_by_class,
    pick_fold,
    read_labels,
    read_list,
)
from cstlib.data.pixels import read_class_ids, read_image, read_size
from cstlib.errors import CstlibError

VOID = 255
SPLITS = ("trn", "val")
# Decoded images kept in memory by each dataset: all of Mini-5i, 280 of Pascal's.
CACHE_BYTES = 128 * 2**20


class VocDataset:
    """The images of one split of one fold, and the episodes drawn from them.

    Fold f holds out classes 5f+1..5f+5 (Pascal-5i; CST paper, section 5), unless
    ``meta.json`` has a table of folds. "val" are the images listed under these; "trn"
    those listed under the other classes.

    Args:
        root: folder in the layout above.
        fold: 0 to 3.
        split: "trn" or "val".
        image_size: S; images are resized to S x S (bilinear).
        class_names: of classes 1, 2, ...; by default as in ``meta.json``.
        protocol: "pascal" or "coco": the classes of a fold and how queries are drawn.
        task: "fs-cs", or "fs-s": the support class is always the query's.

    Attributes:
        classes: the split's class ids, rising.
        folds: the classes that each fold holds out.
        entries: (name, class), line by line as listed.
        images_of_class: the images listed under each class, in list order.
        class_names: of all classes of the benchmark, by id.

    Raises:
        CstlibError: a folder or file is missing or malformed, or a list names a class
            that is outside its fold.
    """

    def __init__(
        self,
        root: str | Path,
        fold: int,
        split: str,
        image_size: int,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        protocol: str = "pascal",
        task: str = "fs-cs",
    ) -> None:
        self.root, self.fold, self.split = Path(root), fold, split
        self.image_size, self.protocol, self.task = image_size, protocol, task
        check_protocol(protocol)
        check_task(task)
        if split not in SPLITS:
            raise CstlibError(f"There is no split {split!r}: choose trn or val.")
        if not self.root.is_dir():
            raise CstlibError(f"There is no data folder {self.root}: {AGAIN}.")
        self.layout: Layout = read_layout(self.root)
        self.folds = self.layout.folds or fold_table(protocol, N_CLASSES[protocol])
        held_out = pick_fold(self.folds, fold)
        self.entries: list[tuple[str, int]] = []
        for other, classes in enumerate(self.folds):
            if (other == fold) != (split == "val"):
                continue
            path = self.lists / split / f"fold{other}.txt"
            entries = read_list(path)
            _check_classes(path, entries, classes)
            self.entries += entries
        every = range(1, sum(map(len, self.folds)) + 1)
        self.classes = [c for c in every if (c in held_out) == (split == "val")]
        self.images_of_class = images_by_class(self.entries, self.classes)
        self.names = sorted({name for name, _ in self.entries})
        self.class_names = self._read_class_names(class_names, every)
        self._labels = read_labels(self.lists / "labels.json")
        self._check_labels()
        self._images: dict[str, np.ndarray] = {}
        self._sizes: dict[str, tuple[int, int]] = {}

    # Names and labels, from text files alone.

    @property
    def lists(self) -> Path:
        """The folder of the lists and the label file."""
        return self.root / "ImageSets" / "FewShot"

    def present_classes(self, name: str) -> frozenset[int]:
        """All classes with any pixel in the image, from the label file alone.

        Raises:
            CstlibError: the label file does not know the image.
        """
        if name not in self._labels:
            raise CstlibError(
                f"The image {name} is not in {self.lists / 'labels.json'}: {AGAIN}."
            )
        return self._labels[name]

    def presence(self, plan: EpisodePlan) -> Tensor:
        """N bool: which support classes the query shows, from the label file alone."""
        present = self.present_classes(plan.query)
        return torch.tensor([c in present for c in plan.support_classes])

    def plan(self, index: int, way: int = 1, shot: int = 1) -> EpisodePlan:
        """Episode number ``index`` of the test protocol, by name."""
        how = index, way, shot, self.task
        if self.protocol == "coco":
            return sampler.draw_coco_episode(self.images_of_class, *how)
        return sampler.draw_pascal_episode(self.entries, self.images_of_class, *how)

    def training_plans(
        self, episodes: int, seed: int, start: int = 0
    ) -> Iterator[EpisodePlan]:
        """Training episodes ``start`` to ``episodes - 1`` (`sampler.training_plans`)."""
        how = episodes, seed, self.protocol, start, self.task
        return sampler.training_plans(self.entries, self.images_of_class, *how)

    # Pixels of single images.

    def image(self, name: str) -> Tensor:
        """The image, 3 x S x S float in [0, 1], resized where it has another size.

        Raises:
            CstlibError: the image is missing, unreadable or truncated.
        """
        pixels = self._images.get(name)
        if pixels is None:
            size = (self.image_size, self.image_size)
            image = self.pil_image(name)
            if image.size != size:
                image = image.resize(size, Image.Resampling.BILINEAR)
            pixels = np.array(image)
            if len(self._images) >= max(1, CACHE_BYTES // pixels.nbytes):
                self._images.pop(next(iter(self._images)))
            self._images[name] = pixels
        return torch.from_numpy(pixels).permute(2, 0, 1).float().div(255).contiguous()

    def pil_image(self, name: str) -> Image.Image:
        """The image as it is on disk, RGB; errors as in `image`."""
        return read_image(self._image_path(name))

    def original_size(self, name: str) -> tuple[int, int]:
        """H, W of the image's file, from its header; errors as in `image`."""
        if name not in self._sizes:
            self._sizes[name] = read_size(self._image_path(name))
        return self._sizes[name]

    def mask(self, name: str) -> np.ndarray:
        """The image's mask, H x W uint8: class ids, 0 background, 255 void.

        Every mask that is ever read is read here.

        Raises:
            CstlibError: the mask is missing or unreadable, differs in size from its
                image, or holds something other than class ids.
        """
        path = self.layout.masks / f"{name}.png"
        mask = read_class_ids(path)
        strange = np.zeros(256, dtype=bool)
        strange[len(self.class_names) + 1 : VOID] = True
        if strange[mask].any():
            raise CstlibError(
                f"The mask {path} holds the value {mask[strange[mask]][0]}, which is "
                "neither a class id nor 0 nor 255: save it with the benchmark's ids."
            )
        if mask.shape != self.original_size(name):
            (h, w), (image_h, image_w) = mask.shape, self.original_size(name)
            raise CstlibError(
                f"The mask {path} is {w}x{h} pixels but its image is "
                f"{image_w}x{image_h}: replace it by a mask of the image's size."
            )
        return mask

    # Episodes.

    def query_mask(self, plan: EpisodePlan, training: bool = False) -> Tensor:
        """The query's int64 labels: 1..N as the support classes, 0 else, 255 void.

        H x W as in the query's file; in training S x S, by nearest neighbour. Errors
        as in `mask`.
        """
        label_of = np.zeros(256, dtype=np.uint8)
        label_of[VOID] = VOID
        for label, c in enumerate(plan.support_classes, start=1):
            label_of[c] = label
        labels = torch.from_numpy(label_of[self.mask(plan.query)])
        return (self._nearest(labels) if training else labels).long()

    def support_masks(self, plan: EpisodePlan) -> Tensor:
        """N x K x S x S bool: where each support shows its class; errors of `mask`."""
        rows = []
        for c, names in zip(plan.support_classes, plan.supports, strict=True):
            masks = [torch.from_numpy(self.mask(name)) == c for name in names]
            rows.append(torch.stack([self._nearest(mask) for mask in masks]))
        return torch.stack(rows)

    def load(
        self, plan: EpisodePlan, masks: bool = True, training: bool = False
    ) -> Episode:
        """Load the pixels of a plan; without ``masks`` no mask is opened.

        Args:
            training: bring the query's mask to S x S, as the loss wants it, instead of
                leaving it at the size that is evaluated.

        Raises:
            CstlibError: an image or mask that is needed is missing or broken.
        """
        rows = [torch.stack([*map(self.image, names)]) for names in plan.supports]
        return Episode(
            plan=plan,
            query_image=self.image(plan.query),
            support_images=torch.stack(rows),
            presence=self.presence(plan),
            query_mask=self.query_mask(plan, training) if masks else None,
            support_masks=self.support_masks(plan) if masks else None,
            original_size=self.original_size(plan.query),
        )

    def episode(
        self, index: int, way: int = 1, shot: int = 1, masks: bool = True
    ) -> Episode:
        """Episode number ``index`` of the test protocol, loaded; errors of `load`."""
        return self.load(self.plan(index, way, shot), masks)

    def _nearest(self, labels: Tensor) -> Tensor:
        pixels = labels.to(torch.uint8)[None, None]
        # Nearest is the default mode, and the only one for whole numbers.
        return F.interpolate(pixels, self.image_size)[0, 0].to(labels.dtype)

    def _image_path(self, name: str) -> Path:
        return self.layout.image_path(name)

    def _check_labels(self) -> None:
        for name, c in self.entries:
            if c not in self._labels.get(name, ()):
                raise CstlibError(
                    f"The image {name} is listed under class {c}, which "
                    f"{self.lists / 'labels.json'} does not give it: {AGAIN}."
                )

    def _read_class_names(self, given, every: range) -> dict[int, str]:
        if given is None:
            given = self.layout.meta.get("class_names")
        if given is None:
            given = [f"class {c}" for c in every]
        names = given if isinstance(given, Mapping) else dict(enumerate(given, start=1))
        if sorted(names) != list(every):
            raise CstlibError(
                f"{len(names)} class names were given where the benchmark has "
                f"{len(every)} classes: name each of the classes 1 to {len(every)}."
            )
        return {c: str(names[c]) for c in every}


def _check_classes(path: Path, entries, classes: Sequence[int]) -> None:
    for name, c in entries:
        if c not in classes:
            raise CstlibError(
                f"{path} lists the image {name} under class {c}, outside the fold's "
                f"classes {classes[0]} to {classes[-1]}: {AGAIN}."
            )
