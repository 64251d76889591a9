"""The paper's tables as configurations: which runs a table is made of.

A `Row` is one configuration of a table, run on every fold and seed; two tables that
need the same run share it. To add an experiment, add a row here (or a table): then
`python -m cstlib reproduce` runs, records and prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cstlib.config import TrainConfig
from cstlib.errors import CstlibError

Measure = tuple[int, int]  # ways N, shots K
ONE: tuple[Measure, ...] = ((1, 1),)
ONE_AND_TWO: tuple[Measure, ...] = ((1, 1), (2, 1))
FIVE_SHOTS: tuple[Measure, ...] = ((1, 5), (2, 5))

ONE_AND_FIVE_SHOTS: tuple[Measure, ...] = ((1, 1), (1, 5))

# Predictors that learn nothing, by name: see `cstlib.baselines.controls`.
CONTROLS = ("foreground", "dino", "panet")
# What a table's columns show: ER, mIoU, FB-IoU.
BOTH_TASKS = ("er", "miou")
SEGMENTATION = ("miou", "fb_iou")


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


@dataclass(frozen=True)
class Table:
    """A table of the paper, or one that it lacks and a reader needs.

    Attributes:
        number: as the paper counts, or a name of our own.
        title: what it compares.
        rows: its lines. measures: the (ways, shots) that its columns are tested with.
        data: the benchmark it was made on; the miniature stands in for either.
        figures: what its columns show.
        needs: why the miniature cannot run it; such a table is named but not run.
        instead: the command that answers its question elsewhere.
        lacks: what the paper's table has beyond these rows, and why they do not.
        beside: the table whose averages stand beside ours, where its own figures are
            not in the course's data; by default its own.
    """

    number: str
    title: str
    rows: tuple[Row, ...] = ()
    measures: tuple[Measure, ...] = ONE
    data: str = "pascal"
    figures: tuple[str, ...] = BOTH_TASKS
    needs: str = ""
    instead: str = ""
    lacks: str = ""
    beside: str = ""


def _paper(**fields: Any) -> dict[str, Any]:
    return {"method": "CST", **fields}


IMAGE: dict[str, Any] = {"supervision": "image"}
PIXEL: dict[str, Any] = {"supervision": "pixel"}
NO_MASKS: dict[str, Any] = {**IMAGE, "mask_source": "none"}
SHARES = (0.025, 0.05, 0.1)  # of the images that show their masks

FOREGROUND_ROW = Row("everything foreground", control="foreground")


def _methods(names: tuple[str, ...], level: dict[str, Any], **paper: Any):
    """A row for each of these methods at this level of supervision."""
    return tuple(
        Row(name, {**level, "learner": name.lower()}, paper={"method": name, **paper})
        for name in names
    )


DINO = {"method": "DINO"}
DINO_ROW = Row("DINO", control="dino", paper=DINO)
CST_NO_MASKS = Row("CST, no pseudo-masks", NO_MASKS, paper=_paper(pseudo_masks=False))
CST_IMAGE = Row("CST", IMAGE, paper=_paper(pseudo_masks=True))
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
    *_methods(("PANet", "HSNet", "ASNet", "CST"), PIXEL),
)
FS_S = {"task": "fs-s"}
FS_S_ROWS = (
    Row("everything foreground", FS_S, control="foreground"),
    Row("DINO", FS_S, control="dino"),
    *_methods(("HSNet", "ASNet", "CST"), {**PIXEL, **FS_S}),
)
NO_CNN = "the self-supervised CNN, as only transformers were pre-trained"
NO_RESNET = "the methods made for a ResNet50's maps"
REAL_SIZE = "python -m cstlib train --data pascal --supervision pixel --backbone"


def _mixed() -> Iterator[Row]:
    """Table 3: (a) true masks and pseudo-masks, (b) enhanced, (c) true test masks."""
    yield Row("(a) 0%", IMAGE, paper=_paper(row="a", mask_fraction=0))
    for row, more in (
        ("a", {"mask_source": "dino"}),
        ("b", {}),
        ("c", {"test_masks": True}),
    ):
        for share in SHARES:
            yield Row(
                f"({row}) {share:.1%}",
                {"supervision": "mixed", "mask_fraction": share, **more},
                paper=_paper(row=row, mask_fraction=share),
            )
    yield Row("(c) 100%", PIXEL, paper=_paper(row="c", mask_fraction=1.0))


def _on_backbones() -> Iterator[Row]:
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
                paper=_paper(backbone=printed, supervision=kind) if printed else None,
            )


def _pairs(key: str, variants: dict[str, dict[str, Any]]) -> tuple[Row, ...]:
    """Each variant at image and at pixel level; ``key`` names it in the paper's rows."""
    return tuple(
        Row(
            f"{name}, {level['supervision']}",
            {**level, **settings},
            paper=_paper(supervision=level["supervision"], **{key: name}),
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
        paper=_paper(mask_source="class-supervised ViT"),
    ),
    Row(
        "self-supervised ViT, output layer",
        {**IMAGE, "mask_source": "output"},
        paper=_paper(mask_source="self-supervised ViT, output layer"),
    ),
    Row("self-supervised ViT", IMAGE, paper=_paper(mask_source="self-supervised ViT")),
)

MAIN_ROWS = (
    FOREGROUND_ROW,
    Row("DINO's masks as they are", control="dino", paper={**DINO, "table": "1"}),
    Row("image level, no masks", NO_MASKS, paper=_paper(table="1", pseudo_masks=False)),
    Row("image level, random masks", {**IMAGE, "mask_source": "random"}),
    Row("image level, pseudo-masks", IMAGE, paper=_paper(table="1", pseudo_masks=True)),
    *(
        Row(
            f"mixed, {share:.1%} of the masks",
            {"supervision": "mixed", "mask_fraction": share},
            paper=_paper(table="3", row="b", mask_fraction=share),
        )
        for share in SHARES
    ),
    Row("pixel level", PIXEL, paper=_paper(table="4")),
)

TABLES: dict[str, Table] = {
    table.number: table
    for table in (
        # Not one of the paper's: CST's own lines of Tables 1, 3 and 4.
        Table("main", "CST from less to more supervision", MAIN_ROWS),
        Table("1", "image-level supervision", IMAGE_ROWS, ONE_AND_TWO),
        Table(
            "2", "image-level supervision on COCO-20i", COCO_IMAGE, ONE_AND_TWO, "coco"
        ),
        Table("3", "mixed supervision", tuple(_mixed())),
        Table("4", "pixel-level supervision", PIXEL_ROWS, ONE_AND_TWO),
        Table(
            "5",
            "pixel-level supervision on COCO-20i",
            PIXEL_ROWS,
            ONE_AND_TWO,
            "coco",
            beside="a.13",
        ),
        Table("6", "pseudo-masks from other networks", PSEUDO_LABELS, lacks=NO_CNN),
        Table(
            "7",
            "coupled and decoupled task heads",
            _pairs("heads", {"coupled": {"learner": "cst-coupled"}, "decoupled": {}}),
            ONE_AND_TWO,
        ),
        Table(
            "8",
            "segmentation of a class that is always there (FS-S)",
            FS_S_ROWS,
            ONE_AND_FIVE_SHOTS,
            "coco",
            SEGMENTATION,
            lacks=NO_RESNET,
        ),
        Table(
            "a.2",
            "parameters, operations, memory",
            needs="it counts the real networks and trains nothing",
            instead="python -m cstlib bench",
        ),
        Table(
            "a.3",
            "the learner on self- and class-supervised backbones",
            tuple(_on_backbones()),
        ),
        Table(
            "a.4",
            "CST on ResNet50",
            needs="no CNN was pre-trained on the miniature's images",
            instead=f"{REAL_SIZE} resnet50 [--learner cst-coupled]",
        ),
        Table(
            "a.5",
            "all learners on the same correlations",
            tuple(
                Row(
                    f"{name}, {level['supervision']}",
                    {**level, "learner": name.lower()},
                    paper={"method": printed, "supervision": level["supervision"]},
                )
                for level in (IMAGE, PIXEL)
                for name, printed in (
                    ("HSNet", "HSNet*"),
                    ("ASNet", "ASNet*"),
                    ("CST", "CST"),
                )
            ),
        ),
        Table(
            "a.6",
            "other self-supervised backbones",
            needs="neither a CNN nor a masked autoencoder was pre-trained on its images",
            instead=f"{REAL_SIZE} dino-resnet50 (mae-vitb16, dino-vitb16)",
        ),
        Table(
            "a.7",
            "single- and multi-head correlations",
            _pairs("correlation", {"single-head": {"heads": 1}, "multi-head": {}}),
        ),
        Table(
            "a.8",
            "the weight of the classification loss",
            tuple(
                Row(f"lambda {lam}", {**IMAGE, "lam": lam}, paper=_paper(lam=lam))
                for lam in (0.05, 0.1, 0.5)
            ),
        ),
        Table(
            "a.9",
            "one to five ways",
            PIXEL_ROWS,
            tuple((way, 1) for way in range(1, 6)),
        ),
        Table(
            "a.10",
            "five shots, image-level supervision",
            IMAGE_ROWS,
            FIVE_SHOTS,
        ),
        Table(
            "a.11",
            "five shots, image-level supervision on COCO-20i",
            COCO_IMAGE,
            FIVE_SHOTS,
            "coco",
        ),
        Table("a.12", "Table 2 fold by fold", COCO_IMAGE, ONE_AND_TWO, "coco"),
        Table("a.13", "Table 5 fold by fold", PIXEL_ROWS, ONE_AND_TWO, "coco"),
        Table(
            "a.14",
            "Table 8 fold by fold",
            FS_S_ROWS,
            ONE_AND_FIVE_SHOTS,
            "coco",
            SEGMENTATION,
            lacks=NO_RESNET,
        ),
    )
}


def find_table(number: str) -> Table:
    """The table of that number.

    Raises:
        CstlibError: there is none.
    """
    if number not in TABLES:
        raise CstlibError(
            f"There is no table {number!r}: choose one of {', '.join(TABLES)}."
        )
    return TABLES[number]


def configuration(
    row: Row, data: str, fold: int, seed: int, **common: Any
) -> TrainConfig:
    """The run behind a row, on one fold with one seed.

    ``common`` holds what all rows of a call share, such as ``episodes``.
    """
    return TrainConfig(
        **{"data": data, "fold": fold, "seed": seed, **common, **row.settings}
    )
