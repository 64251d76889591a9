"""The correlation in rows is the correlation, and the learner cannot tell."""

from __future__ import annotations

import pytest
import torch
from made_tokens import made_tokens

from cstlib import correlation_rows
from cstlib.correlation import correlate
from cstlib.correlation_rows import CorrelationRows, rows_or_whole
from cstlib.cst import CST
from cstlib.evaluation import forward_pairs


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 7 query patches of 30, for two pairs of 6 channels."""
    monkeypatch.setitem(correlation_rows.NUMBERS, "cpu", 7 * 2 * 6 * 145 + 5)


@pytest.mark.parametrize(
    "queries, heads", [(2, None), (1, None), (2, 1)], ids=["two", "shared", "one head"]
)
def test_rows_are_rows_of_the_correlation(queries, heads):
    query, support = made_tokens(1, batch=queries), made_tokens(2)
    whole = correlate(query, support, heads=heads)
    rows = CorrelationRows(query, support, heads)
    assert rows.shape == whole.shape and rows.ndim == whole.ndim
    for part in (slice(0, 30), slice(7, 8), slice(20, 30)):
        torch.testing.assert_close(rows[part], whole[:, :, part])


def test_the_learner_sees_no_difference(small_parts):
    query, support = made_tokens(1), made_tokens(2)
    mask = torch.zeros(2, 40, 40)
    mask[:, 5:30, 10:20] = 1
    torch.manual_seed(0)
    learner = CST(6).eval()
    rows = learner.compare_once(query, support)
    assert isinstance(rows, CorrelationRows) and rows.step == 7
    with torch.no_grad():
        for given in (None, mask):
            found = learner(rows, given, (5, 6))
            wanted = learner(learner.compare(query, support), given, (5, 6))
            for a, b in zip(found, wanted):
                torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_no_more_than_a_part_is_ever_there(small_parts, monkeypatch):
    counts = []
    compare = correlate

    def counted(*given, **named):
        found = compare(*given, **named)
        counts.append(found.shape[2])
        return found

    monkeypatch.setattr(correlation_rows, "correlate", counted)
    with torch.no_grad():
        CST(6).eval()(rows_or_whole(made_tokens(1), made_tokens(2)), None, (5, 6))
    assert counts == [7, 7, 7, 7, 2]


def test_maps_of_several_sizes_are_compared_as_a_whole():
    grids = ((6, 6), (3, 3), (3, 3))
    query, support = made_tokens(1, grids=grids), made_tokens(2, grids=grids)
    found = rows_or_whole(query, support)
    assert torch.equal(found, correlate(query, support))


class OnePair:
    """Features of two images that are always the same."""

    device, grid = torch.device("cpu"), (5, 6)

    def tokens(self, names):
        return made_tokens(1, batch=1)

    support_tokens = tokens


def test_gradients_in_rows_are_those_of_the_whole(small_parts):
    query, support = made_tokens(1), made_tokens(2)
    mask = torch.zeros(2, 40, 40)
    mask[:, 5:30, 10:20] = 1
    torch.manual_seed(0)
    learner = CST(6)
    found = []
    for compare in (learner.compare_once, learner.compare):
        class_logits, maps = learner(compare(query, support), mask, (5, 6))
        loss = class_logits.square().sum() + maps.square().mean()
        found.append(torch.autograd.grad(loss, list(learner.parameters())))
    for rows, whole in zip(*found):
        scale = whole.abs().max() + 1e-6
        torch.testing.assert_close(rows, whole, atol=1e-4 * float(scale), rtol=1e-4)


def test_mixed_precision_in_rows_has_gradients_too(small_parts):
    learner, found = CST(6), []
    for compare in (learner.compare_once, learner.compare):
        with torch.autocast("cpu", torch.bfloat16):
            given = compare(made_tokens(1), made_tokens(2))
            logits, _ = learner(given, None, (5, 6))
        weight = learner.layers[0].qkv.weight
        found.append(torch.autograd.grad(logits.float().sum(), weight)[0])
    torch.testing.assert_close(*found, atol=0.05 * float(found[1].abs().max()), rtol=0)


@pytest.mark.parametrize("many, in_rows", [(30, True), (31, False)])
def test_many_query_patches_are_learnt_from_in_rows(many, in_rows, monkeypatch):
    monkeypatch.setattr("cstlib.evaluation.MANY", many)
    learner = CST(6)
    given = []
    first = learner.layers[0].forward
    monkeypatch.setattr(
        learner.layers[0], "forward", lambda x, m: given.append(x) or first(x, m)
    )
    forward_pairs(learner, OnePair(), ["a"], ["b"], None)
    assert isinstance(given[0], CorrelationRows) == in_rows


def test_training_keeps_the_whole_and_its_gradients(monkeypatch):
    learner = CST(6)
    given = []
    first = learner.layers[0].forward
    monkeypatch.setattr(
        learner.layers[0], "forward", lambda x, m: given.append(x) or first(x, m)
    )
    logits, _ = forward_pairs(learner, OnePair(), ["a"], ["b"], None)
    logits.sum().backward()
    assert learner.layers[0].qkv.weight.grad.abs().sum() > 0
    with torch.no_grad():
        forward_pairs(learner, OnePair(), ["a"], ["b"], None)
    assert [isinstance(x, CorrelationRows) for x in given] == [False, True]
