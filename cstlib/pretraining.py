"""DINO for the miniature: a ViT learns to see without a label or a mask.

A student sees several crops of an image and predicts, for each, what its teacher says
of another crop (`cstlib.dino`). The teacher is the student's own running average.
Labels and masks are out of reach by construction: this module handles an array of
pixels and nothing else. What the result is good for is measured elsewhere, in
`cstlib.probes`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from cstlib import files
from cstlib.backbones import mini_vit
from cstlib.dino import DinoHead, dino_loss, sinkhorn_knopp
from cstlib.errors import CstlibError
from cstlib.paths import cache_home
from cstlib.views import ViewSpec, make_view

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the weights, besides the renderer's version.

    Defaults are those of the shipped weights. Where they leave DINO's own, the size
    is the reason: batch norm in the head and Sinkhorn-Knopp centring replace a large
    batch, a fast teacher a long training.
    """

    images: int = 24_000
    steps: int = 3_000
    batch: int = 64
    seed: int = 0
    precision: str = "float32"
    lr: float = 3e-3
    weight_decay: float = 0.04
    warmup: int = 300
    momentum: float = 0.97  # of the teacher; rises to 1
    prototypes: int = 128
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    drop_path: float = 0.1  # of the student's last block
    global_size: int = 64
    local_size: int = 32
    locals: int = 4

    @property
    def views(self) -> list[ViewSpec]:
        """Two global views, which the teacher sees too, then the local ones."""
        local = ViewSpec(self.local_size, (0.14, 0.45), blur=0.3)
        return [
            ViewSpec(self.global_size, (0.45, 1.0), blur=0.5),
            ViewSpec(self.global_size, (0.45, 1.0), blur=0.1, solarise=0.2),
            *[local] * self.locals,
        ]


@dataclass(frozen=True)
class PretrainStep:
    """What one step showed: the loss, how decided the teacher is, and matching.

    ``entropy`` is the teacher's mean entropy in units of log K (1: undecided, 0:
    certain). ``matching`` is the share of images whose first view finds its own
    second view among the batch's, the early sign that training works.
    """

    step: int
    loss: float
    entropy: float
    matching: float


class Pretraining:
    """Student, teacher and optimiser; `advance` takes one step.

    Every random draw is addressed by (seed, step), so a resumed run takes exactly
    the steps that an uninterrupted one takes.
    """

    def __init__(self, config: PretrainConfig, images: Tensor):
        self.config, self.images, self.step = config, images, 0
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.student = mini_vit(multi_size=True, drop_path=config.drop_path)
            self.student_head = DinoHead(self.student.num_features, config.prototypes)
        # A teacher drops no branch; its head normalises by the batch, as the student's.
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.teacher_head = copy.deepcopy(self.student_head).requires_grad_(False)
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for module in (self.student, self.student_head):
            for parameter in module.parameters():
                (decayed if parameter.ndim > 1 else plain).append(parameter)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=config.lr,
        )

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to a hundredth."""
        config = self.config
        if self.step < config.warmup:
            return config.lr * (self.step + 1) / config.warmup
        done = (self.step - config.warmup) / max(config.steps - config.warmup, 1)
        return config.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)

    def momentum(self) -> float:
        """The teacher's, rising from its start to 1 along half a cosine."""
        done = self.step / self.config.steps
        return 1 - (1 - self.config.momentum) * (1 + math.cos(math.pi * done)) / 2

    def views(self) -> list[Tensor]:
        """The current step's views, normalised: one B x 3 x size x size a view."""
        random = Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        chosen = torch.randint(len(self.images), (self.config.batch,), generator=random)
        batch = self.images[chosen].float() / 255
        return [
            normalised(make_view(batch, spec, random)) for spec in self.config.views
        ]

    def advance(self) -> PretrainStep:
        """One step of student and teacher."""
        with torch.random.fork_rng(devices=[]):  # dropped branches draw from it
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)
            return self._advance()

    def _advance(self) -> PretrainStep:
        config, count = self.config, self.config.batch
        large, *small = _join(self.views())
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            with torch.no_grad():
                seen = self.teacher_head.embed(self.teacher(large))
            own = self.student_head.embed(
                torch.cat([self.student(large), *map(self.student, small)])
            )
        goals = F.normalize(self.teacher_head.prototypes, dim=-1)
        targets = sinkhorn_knopp(seen @ goals.T, config.teacher_temperature)
        scores = own @ F.normalize(self.student_head.prototypes, dim=-1).T
        loss = dino_loss(
            list(scores.split(count)),
            list(targets.split(count)),
            config.student_temperature,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for module in (self.student, self.student_head):
            nn.utils.clip_grad_norm_(module.parameters(), 3.0)
        self.optimiser.step()
        self._update_teacher()
        with torch.no_grad():
            nearest = (own[:count] @ seen[count:].T).argmax(1)
            entropy = -(targets * targets.clamp_min(1e-9).log()).sum(1).mean()
        self.step += 1
        return PretrainStep(
            self.step,
            loss.item(),
            entropy.item() / math.log(config.prototypes),
            (nearest == torch.arange(count)).float().mean().item(),
        )

    @torch.no_grad()
    def _update_teacher(self) -> None:
        rate = 1 - self.momentum()
        for teacher, student in (
            (self.teacher, self.student),
            (self.teacher_head, self.student_head),
        ):
            for old, new in zip(teacher.parameters(), student.parameters()):
                old.lerp_(new, rate)

    def state(self) -> dict:
        """All that `restore` needs; tensors and numbers only."""
        return {
            "step": self.step,
            "config": asdict(self.config),
            "student": self.student.state_dict(),
            "student_head": self.student_head.state_dict(),
            "teacher": self.teacher.state_dict(),
            "teacher_head": self.teacher_head.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict) -> None:
        """Go on from `state`.

        Raises:
            CstlibError: the state belongs to a run with another configuration.
        """
        if state["config"] != asdict(self.config):
            raise CstlibError(
                "The checkpoint belongs to a run with other settings: repeat those, "
                "or give another --out folder."
            )
        for name in ("student", "student_head", "teacher", "teacher_head"):
            getattr(self, name).load_state_dict(state[name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def normalised(view: Tensor) -> Tensor:
    """B x 3 x H x W in [0, 1] less ImageNet's mean, in its standard deviations."""
    return (view - IMAGENET_MEAN) / IMAGENET_STD


def _join(views: list[Tensor]) -> list[Tensor]:
    """Concatenate neighbouring views of one size, so that each size is one pass."""
    joined: list[list[Tensor]] = []
    for view in views:
        if joined and joined[-1][0].shape == view.shape:
            joined[-1].append(view)
        else:
            joined.append([view])
    return [torch.cat(group) for group in joined]


def pretraining_images(count: int, seed: int, progress: bool = True) -> Tensor:
    """Unlabelled images of the miniature: count x 3 x 96 x 96 uint8.

    They come from a stream of drawings that no list of the benchmark uses, and are
    kept in the cache as one memory-mapped array of pixels.
    """
    from cstlib.data import mini

    path = cache_home() / f"pretrain-v{mini.RENDERER_VERSION}-s{seed}-n{count}.npy"
    if not path.is_file():
        shape = (count, 3, mini.IMAGE_SIZE, mini.IMAGE_SIZE)
        with files.replacing(path) as temporary:
            kept = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            scenes = mini.scenes(
                seed, count, "pretrain", what="unlabelled images", progress=progress
            )
            for index, scene in enumerate(scenes):
                kept[index] = scene.image.transpose(2, 0, 1)
            kept.flush()
            del kept
    return torch.from_numpy(np.load(path, mmap_mode="c"))
