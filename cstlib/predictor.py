"""Classify and segment your own pictures, from one to five examples of each class.

    from cstlib import Predictor

    predictor = Predictor("support")         # a folder with one folder a class
    for found in predictor.predict("photos"):
        print(found.name, found.presence_prob)
        found.save("results")

Nothing is trained. The supports are encoded once; then each query is compared with
every one of them, and the answers are combined by equation 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cstlib.backbones import Tokens, load_backbone
from cstlib.correlation import SUPPORT_GRID, resize_patches
from cstlib.cst import combine
from cstlib.errors import CstlibError
from cstlib.evaluation import PRECISIONS
from cstlib.features import PAIRS, PAIRS_ELSEWHERE, pick_device
from cstlib.paths import data_home
from cstlib.predicted import ImagePrediction
from cstlib.pseudo_masks import pseudo_mask
from cstlib.shipped_learners import default_learner, open_learner
from cstlib.support_folder import find_support
from cstlib.upsampling import upsampled
from cstlib.user_images import Picture, picture_of, read_picture, shown
from cstlib.user_queries import OutputNames, Query, find_queries
from cstlib.user_support import SupportImage, read_support

AUTHORS_BACKBONE = "dino-vits8-300ep"  # of learners in the authors' layout
THUMBNAIL = 1600  # pixels of an overlay's longer side


class Predictor:
    """A learner that knows your classes from a few pictures.

    Args:
        support: a folder as in `cstlib.support_folder`. Images without a mask get the
            pseudo-mask of equations 9-11.
        backbone: its name; by default the one that the learner was trained with.
        checkpoint: a trained learner: a file, or the name of a shipped one. The
            default is shipped, and made for drawings like the miniature's.
        device: "cpu", "cuda", ...; a GPU if there is one.
        precision: of the learner, "fp32" or "bf16".
        threshold: the probability above which a class is present, and from which a
            pixel belongs to it (equation 8).

    Attributes:
        class_names: sorted by name; label 1 is the first.
        support: a `SupportImage` for each image.
        notes: sentences that a user should read once, such as what the weights are
            made for.

    Raises:
        CstlibError: the support, the weights or an option is not as it should be.
    """

    def __init__(
        self,
        support: str | Path,
        backbone: str | None = None,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        precision: str = "fp32",
        threshold: float = 0.5,
    ) -> None:
        if precision not in PRECISIONS:
            raise CstlibError(
                f"There is no precision {precision!r}: choose {' or '.join(PRECISIONS)}."
            )
        if not 0 < threshold < 1:
            raise CstlibError(
                f"A threshold of {threshold} is not possible: give a probability "
                "between 0 and 1, like 0.5."
            )
        self.precision, self.threshold = precision, threshold
        classes = find_support(support)
        self.class_names = [c.name for c in classes]
        self.device = pick_device(device)
        self.checkpoint = checkpoint or default_learner()
        saved = open_learner(self.checkpoint)
        usual = saved.config.get("backbone") or AUTHORS_BACKBONE
        self.backbone = load_backbone(backbone or usual).to(self.device)
        self.side = self.backbone.image_size
        images = read_support(classes, self.backbone.image_size)
        self._tokens, self._masks = self._encode(images)
        self.support = [
            replace(image, mask=mask) for image, mask in zip(images, self._masks.cpu())
        ]
        self.shots = [len(c.images) for c in classes]
        channels = len(self._tokens.cls) * self._tokens.heads
        name = self.backbone.name
        self.learner = saved.for_channels(channels, name).to(self.device).eval()
        self.notes = _notes(name, usual)

    def __call__(self, query: Query) -> ImagePrediction:
        """What is said of one picture; errors as in `predict`."""
        return next(self.predict([query]))

    def predict(
        self,
        queries: Query | Iterable[Query],
        failures: list[dict[str, str]] | None = None,
    ) -> Iterator[ImagePrediction]:
        """What is said of each picture, one after the other, as they are asked for.

        Args:
            queries: picture files, folders of them, or images in memory. A file that
                is named twice is looked at once.
            failures: where given, takes ``{"query": path, "why": sentence}`` for each
                query that failed, and the others go on.

        Raises:
            CstlibError: a query cannot be read, and ``failures`` is not given.
        """
        names = OutputNames()
        for query, error in find_queries(queries):
            source = "image" if isinstance(query, Image.Image) else shown(query)
            try:
                if error:
                    raise error
                found = self._predict(_read(query))
            except CstlibError as error:
                if failures is None:
                    raise
                failures.append({"query": source, "why": str(error)})
                continue
            yield replace(found, source=source, name=names.take(query))

    def evidence(self, query: Query) -> tuple[Tensor, Tensor]:
        """What each support alone says of one picture, before equation 8 joins them.

        Returns:
            For the P supports in the order of ``support``: P probabilities that the
            query shows the support's class, and P x h x w foreground logits, whose
            sigmoid is a pixel's probability once they are upsampled to its size.

        Raises:
            CstlibError: the query cannot be read.
        """
        return self._evidence(_read(query))

    @torch.inference_mode()
    def _evidence(self, picture: Picture) -> tuple[Tensor, Tensor]:
        image = picture.tensor(self.backbone.image_size)[None].to(self.device)
        return self._compare(self.backbone(image))

    @torch.inference_mode()
    def _predict(self, picture: Picture) -> ImagePrediction:
        class_prob, maps = self._evidence(picture)
        labels = np.empty(picture.size, dtype=np.uint8)
        # Averages over a class's own shots: classes may have different numbers.
        class_prob = self._by_class(class_prob)[:, None]  # N x 1
        presence = class_prob[:, 0].tolist()
        for rows, columns, logits in upsampled(maps, picture.size):
            fg_prob = self._by_class(logits.sigmoid())[:, None]  # N x 1 x h x w
            combined = combine(class_prob, fg_prob, self.threshold)
            labels[rows, columns] = combined.label.to(torch.uint8).cpu().numpy()
        return ImagePrediction(
            source="",
            name="",
            presence_prob=dict(zip(self.class_names, presence)),
            presence={
                name: bool(is_there)
                for name, is_there in zip(self.class_names, combined.presence)
            },
            labels=labels,
            thumbnail=picture.thumbnail(THUMBNAIL),
        )

    def _compare(self, query: Tokens) -> tuple[Tensor, Tensor]:
        """One query with all P supports: probabilities P, foreground logits P x h x w.

        The softmax over two logits is the sigmoid of their difference, and that can
        be upsampled as well as they can.
        """
        at_once = PAIRS.get(self.device.type, PAIRS_ELSEWHERE)
        grid = max(query.grids)
        class_probs, maps = [], []
        for start in range(0, len(self._masks), at_once):
            chunk = slice(start, start + at_once)
            correlation = self.learner.compare_once(query, self._tokens[chunk])
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.precision == "bf16"
            ):
                clf, seg = self.learner(correlation, self._masks[chunk], grid)
            class_probs.append(clf.float().softmax(1)[:, 1])
            maps.append(seg[:, 1].float() - seg[:, 0].float())
        return torch.cat(class_probs), torch.cat(maps)

    def _by_class(self, values: Tensor) -> Tensor:
        """Means over the shots of each class: P x ... -> N x ..."""
        return torch.stack([part.mean(dim=0) for part in values.split(self.shots)])

    @torch.inference_mode()
    def _encode(self, support: list[SupportImage]) -> tuple[Tokens, Tensor]:
        """Tokens of P supports, no larger than the learner needs, and P x S x S masks.

        One image at a time: all layers of a ViT-S/8 at 400 pixels are 46 MB.
        """
        tokens, masks = [], []
        size = (self.backbone.image_size,) * 2
        target = (SUPPORT_GRID, SUPPORT_GRID)
        for image in support:
            found = self.backbone(image.pixels[None].to(self.device))
            mask = image.mask
            if mask is None:
                mask = pseudo_mask(found, found, size, self.backbone.threshold)[0]
            masks.append(mask.to(self.device))
            small = [
                resize_patches(patches, grid, target)
                for patches, grid in zip(found.patches, found.grids)
            ]
            grids = [target] * len(small)
            q, k = found.attn_q[:, :, :1], found.attn_k[:, :, :1]
            part = replace(found, patches=small, grids=grids, attn_q=q, attn_k=k)
            # A copy, because a part of a tensor keeps all of it in memory.
            tokens.append(part.to(self.device, copy=True))
        return Tokens.cat(tokens), torch.stack(masks)


def _read(query: Query) -> Picture:
    return picture_of(query) if isinstance(query, Image.Image) else read_picture(query)


def _notes(backbone: str, usual: str) -> list[str]:
    """What a user should know about the weights that were chosen."""
    notes = []
    if backbone.endswith("-mini"):
        notes.append(
            f"{backbone} has only ever seen the course's drawings: for photographs "
            "take the backbone dino-vits8 (fetched on first use, or put at "
            f"{data_home() / 'weights' / 'dino-vits8.pth'}) and the checkpoint of a "
            "learner that was trained with it."
        )
    if backbone != usual:
        notes.append(
            f"this learner was trained with {usual}: with {backbone} its answers may "
            "mean little."
        )
    return notes
