"""Several processes as one run: what `torchrun` starts shares the work out.

Every process draws the same plans and takes its share of them; sums (gradients, losses,
intersections and unions) are added up over all, so that each goes on with the whole
batch's numbers. Started without `torchrun`, all of this does nothing.

    torchrun --nproc-per-node 4 -m cstlib train --data pascal

An error or a signal on one process must not leave the others waiting. So each exchange
begins with a word from everybody: go on, stop, or failed.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cstlib.errors import CstlibError
from cstlib.live_features import pick_device

T = TypeVar("T")

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")
GO, YES, FAILED = 0, 1, 2
# As long as one process may keep the others waiting: for data that it prepares.
PATIENCE = timedelta(hours=6)


class _Told(CstlibError):
    """A failure that every process knows of."""


def launched() -> bool:
    """Whether `torchrun` started this process."""
    return dist.is_available() and all(name in os.environ for name in VARIABLES)


def size() -> int:
    """The number of processes that share the work; 1 without `torchrun`."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _together() else 0


def is_first() -> bool:
    """Whether this process writes files and speaks for all."""
    return rank() == 0


def share(items: Sequence[T]) -> list[T]:
    """This process's part of a list; the parts of all make the whole, each item once."""
    return list(items[rank() :: size()])


def add_up(*tensors: Tensor) -> None:
    """Put the sum over all processes into these tensors of one type and device."""
    if not _together():
        return
    _agree()
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    if dist.get_backend() == "gloo":
        flat = flat.cpu()
    _exchange(dist.all_reduce, flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors])):
        tensor.data.copy_(part.view_as(tensor))


def add_up_gradients(module: torch.nn.Module, *more: Tensor) -> None:
    """As `add_up`, for a module's gradients and whatever goes with them."""
    if not _together():
        return
    gradients = []
    for parameter in module.parameters():
        if parameter.grad is None:  # a process without a share has no gradients
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    add_up(*more, *gradients)


def any_true(flag: bool) -> bool:
    """Whether the flag is set on any process."""
    return _agree(YES if flag else GO) == YES if _together() else flag


def wait_for_all() -> None:
    """Go on when all processes have come here; a failure of one is one of all."""
    if _together():
        _agree()


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` returns on the first process, given to all; only there is it run."""
    if not _together():
        return make()
    given: list[Any] = [make() if is_first() else None]
    _agree()
    _exchange(dist.broadcast_object_list, given, device=torch.device("cpu"))
    return given[0]


def first_before_others(make: Callable[[], T]) -> T:
    """Run ``make`` on the first process, then on the others, who find its files made."""
    if not _together():
        return make()
    if is_first():
        found = make()
        _agree()
        return found
    _agree()
    return make()


@contextlib.contextmanager
def joined(device: str | torch.device | None = None) -> Iterator[torch.device]:
    """Let the processes of `torchrun` work as one; yields this one's device.

    Each takes a GPU of its own (NCCL), or the CPU (gloo). Only the first prints. If one
    fails, all end, the first with that one's sentence. Where the processes have been
    joined before, they stay so afterwards.

    Args:
        device: as for `cstlib.features.pick_device`; "cuda" is the process's own GPU.

    Raises:
        CstlibError: there is no such device, or fewer GPUs than processes; or what any
            process raised in the body.
        SystemExit: the same, on all processes but the first.
    """
    if not launched():
        yield pick_device(device)
        return
    local = int(os.environ["LOCAL_RANK"])
    gpus = torch.cuda.is_available() and str(device or "cuda") == "cuda"
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    if begun := not _together():
        dist.init_process_group(backend, timeout=PATIENCE)
    first = is_first()
    try:
        with contextlib.nullcontext() if first else _silence():
            yield _own_gpu(local) if gpus else pick_device(device)
            _agree()  # nobody leaves while another may still fail
    except _Told as error:
        _leave(error, first, 2)
    except CstlibError as error:
        try:
            _tell(str(error))
        except _Told as told:
            _leave(told, first, 2)
    except KeyboardInterrupt as stop:
        _leave(stop, first, 130)
    finally:
        if begun:
            dist.destroy_process_group()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _agree(word: int = GO) -> int:
    """Everybody's strongest word; all raise where it is FAILED."""
    words = torch.tensor([word])
    _exchange(dist.all_reduce, words, op=dist.ReduceOp.MAX)
    if words.item() == FAILED:
        _hear("")
    return int(words)


def _tell(sentence: str) -> None:
    """Fail, and let all others fail at their next exchange."""
    words = torch.tensor([FAILED])
    _exchange(dist.all_reduce, words, op=dist.ReduceOp.MAX)
    _hear(sentence)


def _hear(sentence: str) -> None:
    """Raise the first sentence that a process has to say."""
    sentences: list[str] = [""] * size()
    _exchange(dist.all_gather_object, sentences, sentence)
    raise _Told(next(filter(None, sentences)))


def _exchange(operation: Callable, *arguments, **options) -> None:
    try:
        operation(*arguments, **options)
    except RuntimeError as error:  # torch has no type for a process that is gone
        raise _Told(
            "Another process of this run has ended without a word: see the report of "
            "torchrun, then start all again, with --resume to go on."
        ) from error


def _leave(error: BaseException, first: bool, code: int) -> None:
    """End this process; the first with the error itself, for the command line to print.

    `torchrun` stops all others as soon as one has ended. They are ending already, with
    an exit code of their own.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if first:
        raise error
    raise SystemExit(code)


def _own_gpu(local: int) -> torch.device:
    there = torch.cuda.device_count()
    if local >= there:
        raise CstlibError(
            f"This machine has {there} GPUs, too few for a process each: start "
            f"torchrun with --nproc-per-node {there}, or train with --device cpu."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
