"""The lines of the paper's tables: what is trained for each, and where the paper has it.

`cstlib.experiments` puts them together as tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Predictors that learn nothing, by name: see `cstlib.baselines.controls`.
CONTROLS = ("foreground", "dino", "panet")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: what the line says.
        settings: the fields of `TrainConfig` that make it; all others are the paper's.
        control: a predictor that learns nothing, in a learner's place.
        paper: what finds the line among `cstlib.paper.paper_rows` of the same table;
            None where the paper has no such line.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    control: str = ""
    paper: dict[str, Any] | None = None


def for_cst(**fields: Any) -> dict[str, Any]:
    """What finds one of CST's lines in the paper."""
    return {"method": "CST", **fields}


IMAGE: dict[str, Any] = {"supervision": "image"}
PIXEL: dict[str, Any] = {"supervision": "pixel"}
NO_MASKS: dict[str, Any] = {**IMAGE, "mask_source": "none"}
SHARES = (0.025, 0.05, 0.1)  # of the images that show their masks
# Table 3: (a) true masks and pseudo-masks, (b) enhanced ones, (c) true masks in testing.
MIXED_ROWS: dict[str, dict[str, Any]] = {
    "a": {"mask_source": "dino"},
    "b": {},
    "c": {"test_masks": True},
}

FOREGROUND_ROW = Row("everything foreground", control="foreground")


def methods(names: tuple[str, ...], level: dict[str, Any], **paper: Any):
    """A row for each of these methods at this level of supervision."""
    return tuple(
        Row(name, {**level, "learner": name.lower()}, paper={"method": name, **paper})
        for name in names
    )


DINO = {"method": "DINO"}
DINO_ROW = Row("DINO", control="dino", paper=DINO)
CST_NO_MASKS = Row("CST, no pseudo-masks", NO_MASKS, paper=for_cst(pseudo_masks=False))
CST_IMAGE = Row("CST", IMAGE, paper=for_cst(pseudo_masks=True))
COCO_IMAGE = (FOREGROUND_ROW, CST_NO_MASKS, DINO_ROW, CST_IMAGE)
IMAGE_ROWS = (
    FOREGROUND_ROW,
    *(
        Row(
            f"{name}, no pseudo-masks",
            {**NO_MASKS, "learner": name.lower()},
            paper={"method": name, "pseudo_masks": False},
        )
        for name in ("HSNet", "ASNet")
    ),
    CST_NO_MASKS,
    DINO_ROW,
    CST_IMAGE,
)
TRAINING_FREE = Row("PANet, training-free", control="panet")
PIXEL_ROWS = (
    FOREGROUND_ROW,
    TRAINING_FREE,
    *methods(("PANet", "HSNet", "ASNet", "CST"), PIXEL),
)
FS_S = {"task": "fs-s"}
FS_S_ROWS = (
    Row("everything foreground", FS_S, control="foreground"),
    Row("DINO", FS_S, control="dino"),
    *methods(("HSNet", "ASNet", "CST"), {**PIXEL, **FS_S}),
)


def mixed() -> Iterator[Row]:
    """Table 3, from no masks to all of them."""
    yield Row("(a) 0%", IMAGE, paper=for_cst(row="a", mask_fraction=0))
    for row, more in MIXED_ROWS.items():
        for share in SHARES:
            yield Row(
                f"({row}) {share:.1%}",
                {"supervision": "mixed", "mask_fraction": share, **more},
                paper=for_cst(row=row, mask_fraction=share),
            )
    yield Row("(c) 100%", PIXEL, paper=for_cst(row="c", mask_fraction=1.0))


def on_backbones() -> Iterator[Row]:
    """Table a.3, and the random twin that it lacks: tokens and masks of one network."""
    for level in (IMAGE, PIXEL):
        kind = level["supervision"]
        for name, backbone, printed in (
            ("random", "random-mini", ""),
            ("class-supervised", "supervised-mini", "class-supervised ViT-S/8"),
            ("self-supervised", "", "dino-vits8-300ep"),
        ):
            yield Row(
                f"{name}, {kind}",
                {**level, "backbone": backbone} if backbone else level,
                paper=for_cst(backbone=printed, supervision=kind) if printed else None,
            )


def pairs(key: str, variants: dict[str, dict[str, Any]]) -> tuple[Row, ...]:
    """Each variant at image and at pixel level; ``key`` names it in the paper's rows."""
    return tuple(
        Row(
            f"{name}, {level['supervision']}",
            {**level, **settings},
            paper=for_cst(supervision=level["supervision"], **{key: name}),
        )
        for level in (IMAGE, PIXEL)
        for name, settings in variants.items()
    )


PSEUDO_LABELS = (
    FOREGROUND_ROW,
    Row("pixels all foreground as masks", {**IMAGE, "mask_source": "foreground"}),
    Row("random ViT", {**IMAGE, "mask_source": "random"}),
    Row(
        "class-supervised ViT",
        {**IMAGE, "mask_source": "supervised"},
        paper=for_cst(mask_source="class-supervised ViT"),
    ),
    Row(
        "self-supervised ViT, output layer",
        {**IMAGE, "mask_source": "output"},
        paper=for_cst(mask_source="self-supervised ViT, output layer"),
    ),
    Row("self-supervised ViT", IMAGE, paper=for_cst(mask_source="self-supervised ViT")),
)

MAIN_ROWS = (
    FOREGROUND_ROW,
    Row("DINO's masks as they are", control="dino", paper={**DINO, "table": "1"}),
    Row(
        "image level, no masks", NO_MASKS, paper=for_cst(table="1", pseudo_masks=False)
    ),
    Row("image level, random masks", {**IMAGE, "mask_source": "random"}),
    Row(
        "image level, pseudo-masks", IMAGE, paper=for_cst(table="1", pseudo_masks=True)
    ),
    *(
        Row(
            f"mixed, {share:.1%} of the masks",
            {"supervision": "mixed", "mask_fraction": share},
            paper=for_cst(table="3", row="b", mask_fraction=share),
        )
        for share in SHARES
    ),
    Row("pixel level", PIXEL, paper=for_cst(table="4")),
)
