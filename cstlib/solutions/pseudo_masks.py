"""Solutions of notebook 02: the mean over heads, and equations 9 to 11."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from cstlib.solutions import Solution

NOTEBOOK = "02_pseudo_masks"


def heads_mean(maps, grid):
    h, w = grid
    return maps.mean(dim=0).view(h, w)


def equation_nine(image_keys, support_queries):
    keys = F.normalize(image_keys[:, 1:], dim=-1)  # M x N x d, patches
    asker = F.normalize(support_queries[:, 0], dim=-1)  # M x d, class token
    return torch.einsum("mnd,md->mn", keys, asker)


def equation_eleven(mean, size, threshold):
    batch = mean[None, None]  # 1 x 1 x h x w
    large = F.interpolate(batch, size, mode="bilinear", align_corners=True)
    return (large[0, 0] + 1) / 2 > threshold


SOLUTIONS = [
    Solution(
        "heads-mean",
        heads_mean,
        """\
The heads are the first axis. Patches are numbered row by row, as one reads, so the `N`
numbers fold into h rows of w. On a square grid a map that was folded the other way
round has the right shape and looks plausible; that is why the check uses grids that are
not square.""",
    ),
    Solution(
        "equation-nine",
        equation_nine,
        """\
The support's class token asks (its *query*), the image's patches answer (their *keys*).
Both are brought to length 1 within a head, over `d`, which makes the product a cosine;
normalising over the patches instead would let a patch's value depend on the other
patches. No softmax follows: a cosine need not share.""",
    ),
    Solution(
        "equation-eleven",
        equation_eleven,
        """\
Three steps in the equations' order: enlarge the cosines smoothly, move them from
[-1, 1] to [0, 1], cut. `F.interpolate` wants a batch and a channel axis, hence
`[None, None]` and `[0, 0]`. Cutting first leaves the patches' staircase; cutting
without the move compares a cosine with a number meant for [0, 1].""",
    ),
]
