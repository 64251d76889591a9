"""What is said of one picture, and how it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cstlib import files
from cstlib.errors import CstlibError
from cstlib.plots.overlay import class_colours, draw_overlay
from cstlib.user_images import shown

# Folders of the output folder, and the files' extensions.
KINDS = {"labels": ".png", "overlays": ".jpg", "json": ".json"}


@dataclass(frozen=True)
class ImagePrediction:
    """What is said of one query.

    Attributes:
        source: the query's path as given.
        name: for files; unlike all others of the same call.
        presence_prob: for each class, the probability that the query shows it.
        presence: whether that is above the threshold.
        labels: H x W uint8 at the query's size, upright: 0 background, 1..N the
            classes in order. As in equation 8, presence does not enter.
        thumbnail: the query, small, RGB.
    """

    source: str
    name: str
    presence_prob: dict[str, float]
    presence: dict[str, bool]
    labels: np.ndarray
    thumbnail: Image.Image

    @property
    def present(self) -> list[str]:
        """The classes that are there."""
        return [name for name, is_there in self.presence.items() if is_there]

    def label_image(self) -> Image.Image:
        """The labels as a palette image: black, then a colour for each class."""
        image = Image.fromarray(self.labels)
        colours = class_colours(len(self.presence))
        image.putpalette([0, 0, 0, *(level for colour in colours for level in colour)])
        return image

    def overlay(self) -> Image.Image:
        """The query with its classes painted on, over a line for each class."""
        return draw_overlay(
            self.thumbnail, self.labels, self.presence_prob, self.presence
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values: probabilities, presence, and pixels of each class."""
        height, width = self.labels.shape
        # Not numpy's bincount: it would first make eight bytes of each label.
        pixels = Image.fromarray(self.labels).histogram()
        return {
            "query": self.source,
            "width": width,
            "height": height,
            "classes": [
                {
                    "name": name,
                    "label": label,
                    "probability": round(probability, 4),
                    "present": self.presence[name],
                    "pixels": pixels[label],
                }
                for label, (name, probability) in enumerate(
                    self.presence_prob.items(), start=1
                )
            ],
            **{kind: f"{kind}/{self.name}{KINDS[kind]}" for kind in KINDS},
        }

    def save(self, folder: str | Path) -> dict[str, Any]:
        """Write labels, overlay and JSON below ``folder``; returns the JSON's content.

        Files of the same names are replaced, each all or nothing.

        Raises:
            CstlibError: the folder cannot be written, or leads elsewhere.
        """
        folder = Path(folder)
        place = {kind: folder / kind / (self.name + KINDS[kind]) for kind in KINDS}
        for path in place.values():
            if path.parent.is_symlink():
                raise CstlibError(
                    f"{shown(path.parent)} is a link to another folder: remove it, or "
                    "choose another output folder."
                )
        with files.replacing(place["labels"]) as temporary:
            self.label_image().save(temporary, format="PNG")
        with files.replacing(place["overlays"]) as temporary:
            self.overlay().save(temporary, format="JPEG", quality=90)
        content = self.as_dict()
        files.write_json(place["json"], content)
        return content
