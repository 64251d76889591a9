"""Time in turns, and memory in processes of their own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from cstlib.bench_paths import OurPath, Setting, make_path
from cstlib.errors import CstlibError
from cstlib.many_tokens import has_product, product

# What a path can do -> its method.
METHODS = {"train": "train_step", "evaluate": "evaluate", "backbone": "backbone"}
TASKS = tuple(METHODS)
PRODUCT = 1024  # side of the matrices that the machine is measured with


@dataclass(frozen=True)
class Timing:
    """Seconds of one path in one task.

    Attributes:
        seconds: of each round.
        ratios: naive seconds over these, round by round; empty for the naive path.
    """

    seconds: list[float]
    ratios: list[float]

    @property
    def median(self) -> float:
        """Seconds of the middle round."""
        return statistics.median(self.seconds)

    @property
    def speedup(self) -> float | None:
        """The middle ratio: how many times as fast as the naive path; None for it."""
        return statistics.median(self.ratios) if self.ratios else None


def time_in_turns(
    paths: dict[str, OurPath], task: str, rounds: int, first: int = 0
) -> dict[str, Timing]:
    """Let each path do step ``first`` once unmeasured, then the following in turns.

    All paths do the same step before any goes on to the next, so that whatever else
    the machine is doing meanwhile meets all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for index in range(first, first + rounds + 1):
        for name, path in paths.items():
            path.prepare(index)
            took = _seconds(partial(getattr(path, METHODS[task]), index))
            if index > first:
                seconds[name].append(took)
    naive = seconds.get("naive")
    return {
        name: Timing(
            own,
            [a / b for a, b in zip(naive, own)] if naive and name != "naive" else [],
        )
        for name, own in seconds.items()
    }


def _seconds(work: Callable[[], object]) -> float:
    _wait()
    began = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def flops(precision: str, device: torch.device, rounds: int = 5) -> float:
    """Floating-point operations a second of this machine in large matrix products."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = PRODUCT if device.type == "cpu" else 8 * PRODUCT
    a = torch.randn(side, side, dtype=dtype, device=device)
    ways = [lambda: a @ a]
    if device.type == "cpu" and has_product():
        ways.append(lambda: product(a, a))  # whichever library is faster here
    for way in ways:
        way()
    best = min(_seconds(way) for way in ways for _ in range(rounds))
    return 2 * side**3 / best


def peak_memory(setting: Setting, task: str, steps: int = 2) -> dict[str, int]:
    """Bytes at most in use while a fresh process does ``steps`` steps of a task.

    Returns:
        "peak", and "before": what Python, torch, weights and images take before the
        first step. On a CPU the process's resident memory, on a GPU its allocations.

    Raises:
        CstlibError: the process failed, most likely for lack of memory.
    """
    order = json.dumps({"setting": asdict(setting), "task": task, "steps": steps})
    done = subprocess.run(
        [sys.executable, "-m", "cstlib.bench_measure", order],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CstlibError(
            f"Measuring the memory of {setting.path} failed (exit code "
            f"{done.returncode}): leave it out with --no-memory, or choose smaller "
            "sizes."
        )
    return json.loads(done.stdout)


def _work_and_report(arguments: Sequence[str]) -> None:
    """What the process of `peak_memory` does."""
    order = json.loads(arguments[0])
    path = make_path(Setting(**order["setting"]))
    before = _resident(path.device)
    for index in range(order["steps"]):
        path.prepare(index)
        getattr(path, METHODS[order["task"]])(index)
    print(json.dumps({"before": before, "peak": _peak(path.device)}))


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if (found := _proc("VmHWM")) is not None:
        return found
    import resource  # not on Windows, where this measurement is refused

    # Bytes on macOS, kilobytes elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resident(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _proc("VmRSS") or _peak(device)


def _proc(field: str) -> int | None:
    """A figure of Linux's, in bytes. The high-water mark is this process's own."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    return None


if __name__ == "__main__":
    _work_and_report(sys.argv[1:])
