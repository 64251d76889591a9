"""``python -m cstlib check``: what this machine has, and what to do about the rest.

A teacher runs it on the room's machines the evening before. It needs nothing but
Python: each look is a function of its own that reports what it could not import.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from cstlib.backbone_specs import BACKBONES, BackboneSpec
from cstlib.errors import CstlibError
from cstlib.paths import WEIGHTS, data_home

INSTALL = "run `pip install -r requirements.txt` in the course's folder"
SHOWN = ("torch", "torchvision", "timm")
ROOM = 1.0  # GB that the miniature and its cached features need, generously


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: what was looked at; empty to continue the topic above.
        found: what there is.
        todo: what to do about it; empty if nothing is missing.
        blocks: whether the walkthrough cannot run before that is done.
    """

    topic: str
    found: str
    todo: str = ""
    blocks: bool = False


def add_parser(subparsers: Any) -> None:
    """Add ``check`` to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="say what this machine has and what is missing",
        description="Say what this machine has and what to do about what is missing. "
        "Exit code 0 if the walkthrough can run here, 2 if not (with --workshop: 1).",
    )
    parser.add_argument(
        "--workshop",
        action="store_true",
        help="one line for each notebook: does it run on this machine?",
    )
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="with --workshop: first draw and compute what notebooks make on first use",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 if nothing blocks the walkthrough, else 2.

    Raises:
        CstlibError: ``--prepare`` without ``--workshop``.
    """
    if args.workshop:
        from cstlib import notebooks, workshop

        names = workshop.lessons(notebooks.FOLDER)
        return workshop.check_room(names, args.prepare)
    if args.prepare:
        raise CstlibError("--prepare is part of --workshop: give both.")
    blocked = 0
    for look in (look_at_python, look_at_packages, look_at_pair, look_at_device):
        blocked += _show(look())
    blocked += _show(look_at_memory())
    blocked += _show(look_at_disk(data_home()))
    blocked += _show(look_at_weights(WEIGHTS, data_home() / "weights"))
    blocked += _show(look_at_data(data_home()))
    if blocked:
        print("\nNot ready: first mend what is marked with ! above.")
        return 2
    print("\nReady: the walkthrough can run here.")
    return 0


def look_at_python() -> Iterator[Finding]:
    """The interpreter."""
    version = platform.python_version()
    if tuple(map(int, platform.python_version_tuple()[:2])) < (3, 10):
        yield Finding("Python", version, "install Python 3.10 or newer", blocks=True)
    else:
        yield Finding("Python", f"{version}, {platform.system()} {platform.machine()}")


def look_at_packages() -> Iterator[Finding]:
    """Versions of the main packages, and which of the others are missing or too old."""
    try:
        lines = metadata.requires("cstlib") or []
        from packaging.requirements import Requirement
    except ImportError:  # PackageNotFoundError is one
        yield Finding("packages", "cstlib is not installed", INSTALL, blocks=True)
        return
    others = 0
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        for_tests = marker is not None and marker.evaluate({"extra": "test"})
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = ""
        fits = version and requirement.specifier.contains(version, prereleases=True)
        if not fits:
            found = f"{version or 'missing'}, needed is {requirement.specifier}"
            yield Finding(requirement.name, found, INSTALL, blocks=not for_tests)
        elif requirement.name in SHOWN:
            yield Finding(requirement.name, version)
        else:
            others += 1
    yield Finding("packages", f"{others} others present")


def look_at_pair() -> Iterator[Finding]:
    """Whether torch loads, and torchvision's compiled operators with it."""
    if not util.find_spec("torch") or not util.find_spec("torchvision"):
        return  # reported as missing packages
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken build raises anything
        yield Finding("torch", f"does not load ({_first_line(error)})", _PAIR, True)
        return
    try:
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except Exception as error:  # noqa: BLE001
        found = f"does not match torch ({_first_line(error)})"
        yield Finding("torchvision", found, _PAIR, True)
        return
    yield Finding("pair", "torch and torchvision match")


_PAIR = (
    "take both from one source: `pip uninstall torch torchvision`, then "
    "`pip install -r requirements.txt`"
)


def look_at_device() -> Iterator[Finding]:
    """Where tensors can live."""
    cores = f"CPU, {_cores()} cores"
    try:
        import torch
    except Exception:  # noqa: BLE001
        yield Finding("device", cores)
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            memory = device.total_memory / 1e9
            yield Finding(
                "" if index else "device",
                f"CUDA {index}: {device.name}, {memory:.0f} GB",
            )
        yield Finding("", cores)
    elif torch.backends.mps.is_available():
        yield Finding("device", f"MPS (Apple), {cores}")
    else:
        yield Finding("device", f"{cores}; no GPU, and the walkthrough needs none")


def look_at_memory() -> Iterator[Finding]:
    """Total memory, and how much of it is free where that can be told."""
    try:
        import psutil

        memory = psutil.virtual_memory()
        total, free = memory.total / 1e9, memory.available / 1e9
    except ImportError:
        yield Finding("memory", "unknown")
        return
    found = f"{total:.1f} GB, {free:.1f} GB of it free"
    if free < 2:
        yield Finding("memory", found, "close other programs: 2 GB should be free")
    else:
        yield Finding("memory", found)


def look_at_disk(home: Path) -> Iterator[Finding]:
    """Free space and the right to write where data and caches go."""
    folder = next(place for place in (home, *home.parents) if place.is_dir())
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{free:.1f} GB free for {home}"
    if not os.access(folder, os.W_OK):
        todo = "set CSTLIB_DATA to a folder that you may write to"
        yield Finding("disk", f"{home} cannot be written", todo, blocks=True)
    elif free < ROOM:
        todo = f"free {ROOM:.0f} GB, or set CSTLIB_DATA to a folder on another disk"
        yield Finding("disk", found, todo, blocks=not (home / "mini").is_dir())
    else:
        yield Finding("disk", found)


def look_at_weights(shipped_to: Path, put_by_hand: Path) -> Iterator[Finding]:
    """The weights that come with the course, and those that DINO's makers publish."""
    shipped = sorted(path.stem for path in shipped_to.glob("*.safetensors"))
    if "dino-mini" in shipped:
        yield Finding("weights", f"shipped: {', '.join(shipped)}")
    else:
        todo = "restore cstlib/weights with git, or clone the course again"
        yield Finding("weights", "dino-mini is missing", todo, blocks=True)
    here: list[str] = []
    absent: list[str] = []
    for name, spec in _fetched():
        found = any(put_by_hand.glob(f"{name}.*")) or _is_cached(spec)
        (here if found else absent).append(name)
    if here:
        yield Finding("", f"here too: {', '.join(here)}")
    if absent:
        todo = "only for Pascal and COCO: fetched on first use, with a network"
        yield Finding("", f"not here: {', '.join(absent)}", todo)


def look_at_data(home: Path) -> Iterator[Finding]:
    """The miniature and the two benchmarks."""
    try:
        meta = json.loads((home / "mini" / "meta.json").read_text(encoding="utf-8"))
        found = f"mini: {meta['train']} training, {meta['val']} validation images"
        yield Finding("data", found)
    except (OSError, ValueError, KeyError):
        todo = (
            "drawn on first use in about a minute, or now: `python -m cstlib data mini`"
        )
        yield Finding("data", "mini: not here", todo)
    for name, title in (("pascal", "Pascal-5i"), ("coco", "COCO-20i")):
        if (home / name / "ImageSets" / "FewShot" / "labels.json").is_file():
            yield Finding("", f"{name}: here")
        else:
            todo = (
                f"only for the experiments on {title}: `python -m cstlib data {name}`"
            )
            yield Finding("", f"{name}: not here", todo)


def _show(findings: Iterator[Finding]) -> int:
    """Print findings as they come; returns how many of them block."""
    blocking = 0
    for finding in findings:
        mark = "!" if finding.blocks else " "
        print(f"{mark} {finding.topic:<12}{finding.found}")
        if finding.todo:
            print(f"  {'':<12}-> {finding.todo}", flush=True)
        blocking += finding.blocks
    return blocking


def _fetched() -> list[tuple[str, BackboneSpec]]:
    """The backbones whose weights are fetched."""
    return [(name, spec) for name, spec in BACKBONES.items() if spec.megabytes]


def _is_cached(spec: BackboneSpec) -> bool:
    """Whether the hub's cache holds the weights of an entry (no network)."""
    if spec.source != "hub":
        return False
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    # What timm says too, but timm may be what is broken here.
    repository = f"timm/{spec.architecture}"
    return isinstance(try_to_load_from_cache(repository, "model.safetensors"), str)


def _cores() -> int:
    """Processors that this process may use, which in a container can be fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
