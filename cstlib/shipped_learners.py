"""Trained learners that come with the package, by name.

    python -m cstlib.shipped_learners data/runs/<run> cst-pixel-mini

puts the chosen learner of a finished run there. A learner ``<name>`` is
``cstlib/weights/<name>.safetensors`` (a state dict of any floating precision; the mask
enhancer's under ``enhancer.``, where it has one) with ``<name>.json`` beside it: its
``sha256``, its ``config`` (the fields of `cstlib.config.TrainConfig`), and what else is
worth knowing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from cstlib.backbone_weights import weights_notes
from cstlib.baselines import SavedLearner, load_learner, make_learner
from cstlib.checkpoints import load_learner_weights
from cstlib.errors import CstlibError
from cstlib.files import replacing, sha256, write_json
from cstlib.paths import WEIGHTS

# The first is the better one, also where a support has pseudo-masks only: `evaluate
# --checkpoint best.pt --supervision image` measures it so.
SHIPPED = ("cst-pixel-mini", "cst-mixed-mini", "cst-image-mini")
ENHANCER = "enhancer."
FIRST_WEIGHT = "layers.0.residual_conv.weight"  # D_out x channels x 1 x 1


def default_learner() -> str:
    """The shipped learner to take where none is named.

    The first of `SHIPPED` that is there.

    Raises:
        CstlibError: none ships.
    """
    for name in SHIPPED:
        if _file(name).is_file():
            return name
    raise CstlibError(
        f"No trained learner ({' or '.join(SHIPPED)}) is in {WEIGHTS}: get it with the "
        "repository, or name the best.pt of a training run as --checkpoint."
    )


def open_learner(checkpoint: str | Path) -> SavedLearner:
    """A learner by a shipped name, or from a file of any kind that holds one.

    Raises:
        CstlibError: missing, damaged, or of another kind.
    """
    path = Path(checkpoint)
    if str(checkpoint) in SHIPPED:
        path = _file(str(checkpoint))
        if not path.is_file():
            raise CstlibError(
                f"The learner {checkpoint} is not in {WEIGHTS}: get it with the "
                "repository, or name the best.pt of a training run."
            )
    return read_learner(path) if path.suffix == ".safetensors" else load_learner(path)


def read_learner(path: str | Path) -> SavedLearner:
    """A learner from a safetensors file and the JSON beside it.

    Raises:
        CstlibError: one of the two is missing or damaged, or they do not belong
            together.
    """
    path = Path(path)
    if not path.is_file():
        raise CstlibError(f"There is no checkpoint {path}: check the path.")
    notes = weights_notes(path)
    if "sha256" not in notes:
        raise CstlibError(
            f"{path} has no {path.with_suffix('.json').name} with its SHA-256 beside "
            "it: get both anew."
        )
    if notes["sha256"] != sha256(path):
        raise CstlibError(
            f"{path} is not the file that {path.with_suffix('.json').name} beside it "
            "describes (SHA-256 differs): get both anew."
        )
    try:
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
        channels = notes.get("in_channels") or weights[FIRST_WEIGHT].shape[1]
    except Exception as error:  # the reader has its own for a damaged file
        raise CstlibError(
            f"{path} holds no learner: get it anew, or name another file."
        ) from error
    enhancer = {
        name.removeprefix(ENHANCER): weights.pop(name)
        for name in list(weights)
        if name.startswith(ENHANCER)
    }
    config = dict(notes.get("config", {}))
    learner = make_learner(config.get("learner", "cst"), channels)
    load_learner_weights(learner, weights, path)
    details = {**notes, "enhancer": enhancer}
    return SavedLearner(path, learner.eval(), channels, config, details)


def ship(run: str | Path, name: str) -> Path:
    """Put the learner that a finished run chose into the package, in half precision.

    Args:
        run: its folder, with ``best.pt`` and ``record.json``.
        name: the shipped learner's.

    Raises:
        CstlibError: the run is not finished, or the package cannot be written.
    """
    run, path = Path(run), _file(name)
    saved = load_learner(run / "best.pt")
    if not (run / "record.json").is_file():
        raise CstlibError(f"{run} holds no finished run: let it end first.")
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    state = dict(saved.learner.state_dict())
    enhancer = saved.details.get("enhancer") or {}
    state |= {ENHANCER + name: tensor for name, tensor in enhancer.items()}
    with replacing(path) as temporary:
        save_file({k: v.half().contiguous() for k, v in state.items()}, temporary)
    kept = ("command", "config", "seed", "device", "versions", "duration_s", "metrics")
    notes = {"sha256": sha256(path), "in_channels": saved.in_channels}
    write_json(path.with_suffix(".json"), notes | {k: record[k] for k in kept})
    return path


def _file(name: str) -> Path:
    return WEIGHTS / f"{name}.safetensors"


if __name__ == "__main__":
    print(ship(*sys.argv[1:]))
