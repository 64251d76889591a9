"""Finished runs as one JSON file each: what was run, on what, and what came out.

Every number that a notebook or the README shows comes from these files; nobody
types a measurement by hand.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

import cstlib
from cstlib import files
from cstlib.errors import CstlibError
from cstlib.paths import results_home

FORMAT = 1


def command_line(command: str, arguments: Sequence[str]) -> str:
    """The command as one would type it: ``python -m cstlib train --data mini ...``."""
    return shlex.join(["python", "-m", "cstlib", command, *arguments])


def describe_device(device: str | torch.device) -> str:
    """A GPU's model, or the CPU's architecture and the threads that torch uses."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Versions of Python, cstlib and the packages that decide about numbers."""
    found = {"python": platform.python_version(), "cstlib": cstlib.__version__}
    for package in ("torch", "timm", "numpy", "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def run_name(*parts: object) -> str:
    """A file name from the settings that tell runs apart: ``mini-fold0-image-...``."""
    text = "-".join(str(part) for part in parts if part not in ("", None))
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def write_record(
    content: dict, name: str | None = None, folder: str | Path | None = None
) -> Path:
    """Write one finished run as ``<folder>/<name>.json``, all or nothing.

    Args:
        content: plain values; ``name`` is taken from it where not given.
        folder: ``data/results`` by default.

    Raises:
        CstlibError: there is no name, or the folder cannot be written.
    """
    name = name or content.get("name")
    if not name:
        raise CstlibError("A record needs a name: give one, or put it in the record.")
    path = Path(folder or results_home()) / f"{name}.json"
    files.write_json(path, {"format": FORMAT, "name": name, **content})
    return path


def read_records(folder: str | Path | None = None, **wanted: object) -> list[dict]:
    """All records of a folder (``data/results`` by default), in order of their names.

    Args:
        wanted: keep the records whose field has this value, looked up in the record
            and in its ``config``: ``read_records(kind="train", fold=0)``.

    Raises:
        CstlibError: a file is not a record.
    """
    found = []
    for path in sorted(Path(folder or results_home()).glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            config = record.get("config") or {}
        except (ValueError, OSError, AttributeError) as error:
            raise CstlibError(
                f"{path.name} in {os.path.relpath(path.parent)} is not a readable "
                "record: delete it or bring it back from version control."
            ) from error
        both = {**config, **record}
        if all(both.get(key) == value for key, value in wanted.items()):
            found.append(record)
    return found


def metrics_table(
    metrics: dict[str, dict], class_names: Sequence[str] = (), task: str = "fs-cs"
) -> str:
    """ER, mIoU, FB-IoU and per-class IoU times 100, a column per treatment of void.

    Args:
        metrics: treatment -> `cstlib.metrics.Metrics.as_dict`, as in the records.
        class_names: of classes 1, 2, ...; ids are shown where they are missing.
        task: "fs-s" classifies nothing, so that ER would mean nothing.
    """
    columns = list(metrics.values())
    lines = [["", *(f"void: {void}" for void in metrics)]]
    for title, key in (("ER", "exact_ratio"), ("mIoU", "miou"), ("FB-IoU", "fb_iou")):
        if title == "ER" and task == "fs-s":
            continue
        lines.append([title, *(f"{100 * column[key]:.1f}" for column in columns)])
    for c in columns[0]["class_iou"]:
        name = class_names[int(c) - 1] if int(c) <= len(class_names) else f"class {c}"
        lines.append(
            [
                f"  {name}",
                *(f"{100 * column['class_iou'][c]:.1f}" for column in columns),
            ]
        )
    width = max(len(line[0]) for line in lines)
    return "\n".join(
        f"{first:<{width}}" + "".join(f"{cell:>18}" for cell in cells)
        for first, *cells in lines
    )
