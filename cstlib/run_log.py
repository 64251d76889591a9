"""The log of a training run: ``log.csv``, a row for each step."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from cstlib import files
from cstlib.errors import CstlibError
from cstlib.fitting import TrainStep

FIELDS = (
    *("episode", "loss", "clf", "seg", "er", "miou"),
    *("val_er", "val_miou", "val_fb_iou", "seconds"),
)


class RunLog:
    """Rows are kept until `flush` appends them, which goes with saving the state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[list[Any]] = []

    def add(self, step: TrainStep, seconds: float) -> None:
        """A row of a step; ``seconds`` since the run began."""
        figures = [step.loss, step.clf, step.seg, step.er, step.miou]
        if step.validation:
            v = step.validation
            held_out: list[Any] = [v.exact_ratio, v.miou, v.fb_iou]
        else:
            held_out = ["", "", ""]
        self._rows.append([step.episode, *figures, *held_out, round(seconds, 2)])

    def flush(self) -> None:
        """Append the rows kept so far to the file.

        Raises:
            CstlibError: the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self.path.exists():
            writer.writerow(FIELDS)
        writer.writerows(self._rows)
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())
        except OSError as error:
            raise CstlibError(
                f"Cannot write {self.path} ({error.strerror}): free some disk space "
                "and continue with --resume."
            ) from error
        self._rows = []

    def validations(self) -> list[dict[str, float]]:
        """The held-out figures so far: ``episode``, ``miou``, ``er``, ``fb_iou``.

        Fractions between 0 and 1, in the order of the episodes; of what was flushed.
        """
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return [
                {
                    "episode": int(row["episode"]),
                    "miou": float(row["val_miou"]),
                    "er": float(row["val_er"]),
                    "fb_iou": float(row["val_fb_iou"]),
                }
                for row in csv.DictReader(file)
                if row["val_miou"]
            ]

    def keep(self, episode: int) -> None:
        """Cut off what was logged after the state that a run resumes from."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        # A line without its end was being written when the run was stopped.
        lines = [line for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        kept = [line for line in lines[1:] if int(line.split(",")[0]) <= episode]
        files.write_text(self.path, ",".join(FIELDS) + "\n" + "".join(kept))
