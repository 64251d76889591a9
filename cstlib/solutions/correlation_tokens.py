"""Solutions of notebook 03: channels, one head, a score for presence, the resize."""

from __future__ import annotations

import torch.nn.functional as F

from cstlib.solutions import Solution

NOTEBOOK = "03_correlation_tokens"


def channel_number(layer, head, heads):
    return layer * heads + head


def head_correlation(query, support, heads, head):
    d = query.shape[1] // heads
    ours = slice(head * d, (head + 1) * d)
    t_q = F.normalize(query[:, ours], dim=1)  # N x d
    t_s = F.normalize(support[:, ours], dim=1)  # S x d
    return t_q @ t_s.T


def best_match_score(correlation, owned):
    patches = correlation[:, 1:]  # N x S, without the class token
    best = patches.amax(dim=0)  # S: each support patch's best
    return best[owned].mean()


def resize_support(tokens, grid, size):
    h, w = grid
    image = tokens.T.reshape(1, -1, h, w)  # 1 x C x h x w
    small = F.interpolate(
        image,
        (size, size),
        mode="bilinear",
        align_corners=True,
    )
    return small[0].flatten(1).T  # size^2 x C


SOLUTIONS = [
    Solution(
        "channel-number",
        channel_number,
        """\
Layer by layer: whole layers of `heads` channels lie before the wanted one, then the
heads before this one. Everything counts from 0, so the very first channel is number 0.
Head by head would be as good an order, but the learner's weights were made for this
one.""",
    ),
    Solution(
        "head-correlation",
        head_correlation,
        """\
A head owns `d` channels that lie side by side. First the cut, then length 1: the other
way round the head's share of the token's length would leak into its cosine. Rows are
query tokens because they come first in the product, and nothing is clamped at 0.""",
    ),
    Solution(
        "best-match",
        best_match_score,
        """\
The question is put by the *support's* object: does each of its patches find itself
somewhere in the query? So the maximum runs over the query (axis 0), and the mean over
the patches that the mask owns. Column 0 is the class token and has no place in the
mask; whoever forgets it is off by one patch everywhere.""",
    ),
    Solution(
        "support-resize",
        resize_support,
        """\
Tokens are rows of channels, a picture is channels of places: `tokens.T` is C x N, and
only then may N be cut into h rows of w. Viewing N x C as C x h x w has the right shape
and mixes everything up. With `align_corners=True` the outermost patches stay where they
are, and all others are blends of their four neighbours.""",
    ),
]
