"""The log of a training run: ``log.csv``, and TensorBoard's files beside it.

TensorBoard is optional: where the package is installed, the same figures also go to the
run's ``tensorboard/`` folder, to be looked at with ``tensorboard --logdir``.
"""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cstlib import files
from cstlib.errors import CstlibError
from cstlib.fitting import TrainStep

FIELDS = (
    *("episode", "loss", "clf", "seg", "er", "miou"),
    *("val_er", "val_miou", "val_fb_iou", "seconds"),
)
# The curves that belong on one page bear one word before the stroke.
CURVES = {
    **{name: f"train/{name}" for name in FIELDS[1:6]},
    **{name: f"validation/{name[4:]}" for name in FIELDS[6:9]},
}


class RunLog:
    """Rows are kept until `flush` appends them, which goes with saving the state.

    Args:
        path: of log.csv.
        position: the episode that a resumed run goes on from: what was logged after
            it is cut off. None for a new run.
    """

    def __init__(self, path: Path, position: int | None = None) -> None:
        self.path = path
        self._rows: list[list[Any]] = []
        self._board = _summary_writer(path.with_name("tensorboard"), position)
        if position is not None:
            self._keep(position)

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
            CstlibError: the file cannot be written, or the disk is full.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self.path.exists():
            writer.writerow(FIELDS)
        writer.writerows(self._rows)
        with self._written(self.path), self.path.open("ab") as file:
            file.write(text.getvalue().encode("utf-8"))
        if self._board:
            with self._written(self.path.with_name("tensorboard")):
                self._draw()
        self._rows = []

    def _draw(self) -> None:
        """The rows as points of TensorBoard's curves, over the episodes."""
        for row in self._rows:
            figures = dict(zip(FIELDS, row))
            for name, curve in CURVES.items():
                # Not a number where there is no target, nothing between validations.
                if figures[name] != "" and figures[name] == figures[name]:
                    self._board.add_scalar(curve, figures[name], figures["episode"])
        self._board.flush()

    @contextlib.contextmanager
    def _written(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CstlibError(
                f"Cannot write {path} ({error.strerror}): free some disk space and "
                "continue with --resume."
            ) from error

    def _keep(self, episode: int) -> None:
        """Cut off what was logged after the state that a run resumes from."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        # A line without its end was being written when the run was stopped.
        lines = [line for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        kept = [line for line in lines[1:] if int(line.split(",")[0]) <= episode]
        files.write_text(self.path, ",".join(FIELDS) + "\n" + "".join(kept))


def logged_validations(path: Path) -> list[dict[str, float]]:
    """The held-out figures in a log.csv: ``episode``, ``miou``, ``er``, ``fb_iou``.

    Fractions between 0 and 1, in the order of the episodes; empty without a file.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
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


def _summary_writer(folder: Path, position: int | None) -> Any:
    """TensorBoard's writer, or None where TensorBoard is not installed.

    A resumed run tells it to forget what came after ``position``.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    purge = None if position is None else position + 1
    writer = SummaryWriter(str(folder), purge_step=purge)
    print(f"cstlib: note: curves for `tensorboard --logdir {folder}`.", file=sys.stderr)
    return writer
