"""Solutions of notebook 04: pooling, masked attention, N-way labels, the size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from cstlib.solutions import Solution

NOTEBOOK = "04_cst"


def query_pooling(tokens, kernel):
    cls, patches = tokens[..., :1], tokens[..., 1:]  # D x Q x 1, D x Q x S
    side = math.isqrt(patches.shape[-1])
    squares = patches.unflatten(-1, (side, side))  # D x Q x side x side
    small = F.avg_pool2d(squares, kernel).flatten(2)
    return torch.cat([cls, small], dim=-1)


def masked_attention(similarity, mask):
    cls = torch.ones(1, dtype=torch.bool)
    open_keys = torch.cat([cls, mask])  # 1 + S
    return similarity.masked_fill(~open_keys, -torch.inf).softmax(dim=1)


def n_way_label(fg_prob):
    mean = fg_prob.mean(dim=1)  # N x H x W
    best, winner = mean.max(dim=0)
    return torch.where(best < 0.5, 0, winner + 1)


def learner_size(channels):
    residual = 32  # weights of its 1 x 1 convolution for each channel
    qkv = 3 * 16  # and of the one that gives q, k and v
    return 366_004 + (residual + qkv) * (channels - 72)


SOLUTIONS = [
    Solution(
        "query-pooling",
        query_pooling,
        """\
The class token steps aside, the patches are laid out as the square that they came from,
and each kernel x kernel square becomes its average. Averaging tokens in a row gives the
right number of tokens and the wrong neighbours. `avg_pool2d` takes `D x Q` as batch and
channels, since both are left alone.""",
    ),
    Solution(
        "masked-attention",
        masked_attention,
        """\
Minus infinity becomes exactly 0 in the softmax, and the rest still sums to 1. Masking
*after* the softmax would not, and a similarity of 0 is an ordinary similarity, no ban.
The class token is always open: without it an empty mask would leave a row of nothing
but minus infinity, and the softmax would answer NaN.""",
    ),
    Solution(
        "n-way-label",
        n_way_label,
        """\
Shots are averaged before anything is compared; the best shot alone would let one
misleading support decide. Classes count from 1 because label 0 is the background, which
wins wherever the strongest class stays below one half.""",
    ),
    Solution(
        "learner-size",
        learner_size,
        """\
Two convolutions read the input: the residual branch's, with 32 output channels, and the
one that gives q, k and v, with 16 each. Both are 1 x 1, so a further input channel
brings one weight for every output channel, 80 in all. Biases and all later layers do
not notice.""",
    ),
]
