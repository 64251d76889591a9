"""The paper's tables as configurations: which runs a table is made of.

A `Row` is one configuration of a table, run on every fold and seed; two tables that
need the same run share it. To add an experiment, add a row to `cstlib.experiment_rows`
(or a table here): then `python -m cstlib reproduce` runs, records and prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.experiment_rows import (
    COCO_IMAGE,
    FS_S_ROWS,
    IMAGE,
    IMAGE_ROWS,
    MAIN_ROWS,
    PIXEL,
    PIXEL_ROWS,
    PSEUDO_LABELS,
    Row,
    for_cst,
    mixed,
    on_backbones,
    pairs,
)

Measure = tuple[int, int]  # ways N, shots K
ONE: tuple[Measure, ...] = ((1, 1),)
ONE_AND_TWO: tuple[Measure, ...] = ((1, 1), (2, 1))
FIVE_SHOTS: tuple[Measure, ...] = ((1, 5), (2, 5))
ONE_AND_FIVE_SHOTS: tuple[Measure, ...] = ((1, 1), (1, 5))

# What a table's columns show: ER, mIoU, FB-IoU.
BOTH_TASKS = ("er", "miou")
SEGMENTATION = ("miou", "fb_iou")


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


NO_CNN = "the self-supervised CNN, as only transformers were pre-trained"
NO_RESNET = "the methods made for a ResNet50's maps"
REAL_SIZE = "python -m cstlib train --data pascal --supervision pixel --backbone"

TABLES: dict[str, Table] = {
    table.number: table
    for table in (
        # Not one of the paper's: CST's own lines of Tables 1, 3 and 4.
        Table("main", "CST from less to more supervision", MAIN_ROWS),
        Table("1", "image-level supervision", IMAGE_ROWS, ONE_AND_TWO),
        Table(
            "2", "image-level supervision on COCO-20i", COCO_IMAGE, ONE_AND_TWO, "coco"
        ),
        Table("3", "mixed supervision", tuple(mixed())),
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
            pairs("heads", {"coupled": {"learner": "cst-coupled"}, "decoupled": {}}),
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
            tuple(on_backbones()),
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
            pairs("correlation", {"single-head": {"heads": 1}, "multi-head": {}}),
        ),
        Table(
            "a.8",
            "the weight of the classification loss",
            tuple(
                Row(f"lambda {lam}", {**IMAGE, "lam": lam}, paper=for_cst(lam=lam))
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
