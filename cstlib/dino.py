"""The parts of DINO: a head that scores prototypes, balanced targets, and the loss.

Self-distillation (Caron et al., "Emerging Properties in Self-Supervised Vision
Transformers", ICCV 2021): what the teacher's head says of one view of an image, spread
evenly over the prototypes, is what the student's head has to predict from another.
`cstlib.pretraining` joins the parts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DinoHead(nn.Module):
    """Class token -> scores of prototypes: an MLP, then cosines (DINO, section 3.1).

    B x 96 -> B x K. The prototypes have unit length, so a score is a cosine.
    """

    def __init__(
        self, width: int, prototypes: int, hidden: int = 384, narrow: int = 96
    ):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Linear(hidden, narrow),
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, narrow))

    def embed(self, token: Tensor) -> Tensor:
        """B x 96 -> B x narrow, of length one."""
        return F.normalize(self.mlp(token).float(), dim=-1)

    def forward(self, token: Tensor) -> Tensor:
        """B x 96 -> B x K cosines."""
        return self.embed(token) @ F.normalize(self.prototypes, dim=-1).T


@torch.no_grad()
def sinkhorn_knopp(scores: Tensor, temperature: float, rounds: int = 3) -> Tensor:
    """Assign images to prototypes softly, all prototypes equally often.

    Alternately scales rows and columns of exp(scores / temperature) (SwAV, Caron et
    al., NeurIPS 2020, section 3.1). It replaces DINO's centring: no prototype can
    take all images, so the training cannot collapse. B x K cosines -> B x K, rows
    sum to 1.
    """
    plan = torch.exp((scores - scores.max()) / temperature)
    for _ in range(rounds):
        plan = plan / plan.sum(0, keepdim=True).clamp_min(1e-12)
        plan = plan / plan.sum(1, keepdim=True).clamp_min(1e-12)
    return plan


def dino_loss(student: list[Tensor], teacher: list[Tensor], temperature: float):
    """Mean cross-entropy of the student's view i under the teacher's view j != i.

    ``student`` holds one B x K tensor of scores a view, ``teacher`` one B x K tensor
    of probabilities a global view (DINO, equation 3).
    """
    losses = [
        -(target * F.log_softmax(scores / temperature, dim=-1)).sum(-1).mean()
        for j, target in enumerate(teacher)
        for i, scores in enumerate(student)
        if i != j
    ]
    return torch.stack(losses).mean()
