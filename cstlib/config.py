"""What to train: every choice of a run in one place, with the paper's values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from cstlib.baselines import learner_kind
from cstlib.data.lists import check_task
from cstlib.errors import CstlibError
from cstlib.evaluation import PRECISIONS
from cstlib.supervision import check_supervision, default_source

SELECTORS = ("miou", "er", "last")
# Lambda of equation 7 by task: where the class is always there, nothing is classified.
LAM = {"fs-cs": 0.1, "fs-s": 0.0}


class Lengths(NamedTuple):
    """How long a run is, episodes between validations, and episodes of a validation."""

    episodes: int
    validate_every: int
    validation_episodes: int


# On its benchmarks the paper's 2,000 epochs, an epoch being about 10,000 episodes of
# Pascal-5i and 80,000 of COCO-20i, each with a validation; elsewhere what the miniature
# needs.
BENCHMARKS = {
    "pascal": Lengths(20_000_000, 10_000, 1000),
    "coco": Lengths(160_000_000, 80_000, 1000),
}
MINIATURE = Lengths(6000, 1200, 200)


@dataclass(frozen=True)
class TrainConfig:
    """What to train, to the paper's values.

    Training is always 1-way 1-shot, of the task "fs-cs", or of "fs-s" (Table 8):
    segmentation alone, of a class that the query always shows. Episodes are counted,
    not epochs: the paper's 2,000 epochs are as many walks through the list. Empty
    fields stand for what goes with the others: the world's own backbone, the
    supervision's own mask source, the learner's own learning rate, the task's own
    lambda, the data's own lengths.

    Raises:
        CstlibError: a value makes no sense, or two do not go together.
    """

    data: str = "mini"
    fold: int = 0
    task: str = "fs-cs"
    supervision: str = "image"
    mask_source: str = ""
    mask_fraction: float = 0.0  # of the training images, whose masks may be seen
    test_masks: bool = False  # true support masks in testing: row (c) of Table 3
    backbone: str = ""
    learner: str = "cst"
    heads: int = 0  # of the correlations; 0: the backbone's own, 1: single-head
    episodes: int | None = None  # the data's: 6,000 of the miniature
    seed: int = 0
    batch_size: int = 12
    learning_rate: float | None = None  # the learner's: 1e-3, ASNet* unmasked 1e-4
    lam: float | None = None  # weight of the classification loss: the task's, `LAM`
    precision: str = "fp32"
    validate_every: int | None = None  # episodes; the data's: 1,200
    validation_episodes: int | None = None  # the data's: 200
    select_by: str = "miou"

    def __post_init__(self) -> None:
        if not self.mask_source:
            source = default_source(self.supervision)
            object.__setattr__(self, "mask_source", source)
        check_supervision(self.supervision, self.mask_source)
        if (self.supervision == "mixed") != (0 < self.mask_fraction <= 1):
            raise CstlibError(
                f"Supervision {self.supervision} does not go with "
                f"{option('mask_fraction')} {self.mask_fraction}: give a share between "
                "0 and 1 (like 0.05) with mixed supervision, and none with others."
            )
        check_task(self.task)
        if self.lam is None:
            object.__setattr__(self, "lam", LAM[self.task])
        kind = learner_kind(self.learner)
        rate = self.learning_rate
        if rate is None:
            rate = kind.learning_rate(self.mask_source)
            object.__setattr__(self, "learning_rate", rate)
        lengths = BENCHMARKS.get(self.data, MINIATURE)
        for name, value in lengths._asdict().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name, least in (
            ("episodes", 1),
            ("batch_size", 1),
            ("validate_every", 1),
            ("validation_episodes", 1),
            ("seed", 0),
            ("heads", 0),
            ("lam", 0),
        ):
            value = getattr(self, name)
            if not value >= least or math.isinf(value):
                raise CstlibError(
                    f"Training with {option(name)} {value} is not possible: "
                    f"give {least} or more."
                )
        if self.seed >= 2**32:
            raise CstlibError(
                f"The seed {self.seed} is too large: give one below {2**32}."
            )
        if not 0 < rate < math.inf:
            raise CstlibError(
                f"Training with {option('learning_rate')} {self.learning_rate} is not "
                "possible: give a number above 0, like 0.001."
            )
        for name, choices in (("precision", PRECISIONS), ("select_by", SELECTORS)):
            value = getattr(self, name)
            if value not in choices:
                raise CstlibError(
                    f"There is no {option(name)} {value!r}: choose one of "
                    f"{', '.join(choices)}."
                )
        if self.task == "fs-s" and self.select_by == "er":
            raise CstlibError(
                "The task fs-s classifies nothing that --select-by er could go by: "
                "choose miou or last."
            )

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainConfig:
        """The configuration that `asdict` wrote; unknown fields are left out."""
        known = cls.field_names()
        return cls(**{k: v for k, v in content.items() if k in known})

    @property
    def lengths(self) -> Lengths:
        """The lengths as they are: given, or the data's."""
        return Lengths(*(getattr(self, name) for name in Lengths._fields))

    def unusual(self) -> dict[str, Any]:
        """The fields off their standard: the paper's values, or what goes with others."""
        standard = asdict(TrainConfig(data=self.data))
        standard["mask_source"] = default_source(self.supervision)
        rate = learner_kind(self.learner).learning_rate(self.mask_source)
        standard["learning_rate"] = rate
        standard["lam"] = LAM[self.task]
        return {k: v for k, v in asdict(self).items() if v != standard[k]}

    def options(self) -> list[str]:
        """The words behind ``python -m cstlib train`` that give this configuration."""
        words = ["--data", self.data, "--fold", str(self.fold)]
        for name, value in self.unusual().items():
            if name not in ("data", "fold"):
                words += [option(name)] if value is True else [option(name), str(value)]
        return words

    @classmethod
    def field_names(cls) -> list[str]:
        """What a configuration is made of, in order."""
        return [field.name for field in fields(cls)]


def option(name: str) -> str:
    """The command line's name for a field: ``batch_size`` -> ``--batch-size``."""
    return "--" + {"learning_rate": "lr"}.get(name, name.replace("_", "-"))
