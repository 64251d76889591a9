"""Measure predictions by the benchmark's protocol: 1,000 fixed test episodes.

Model selection and test use the same episodes of the same held-out classes in all
this literature; whoever compares with published tables does so too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor
from tqdm.auto import tqdm

from cstlib import distributed
from cstlib.correlation_rows import MANY
from cstlib.data.episode import EpisodePlan
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.features import Features
from cstlib.learner import Learner, Prediction
from cstlib.metrics import VOID_WAYS, Meter, Metrics
from cstlib.supervision import Supervision, measuring_mask

Predictor = Callable[[Sequence[EpisodePlan]], list[Prediction]]
PRECISIONS = ("fp32", "bf16")

# Pairs that a predictor is handed at once, in whole episodes.
HANDED = 24


def pairs_at_once(features: Features) -> int:
    """How many pairs to give the learner at once on the features' device."""
    return features.pairs_at_once


def rows_pay_in_training(features: Features) -> bool:
    """Whether a learner is better shown a correlation in parts, and then once more."""
    h, w = features.grid
    return features.device.type == "cpu" and h * w >= MANY


def forward_pairs(
    learner: Learner,
    features: Features,
    queries: list[str],
    supports: list[str],
    masks: Tensor | None,
    precision: str = "fp32",
) -> tuple[Tensor, Tensor]:
    """Run the learner on B pairs of images, given by name.

    Args:
        masks: B x S x S support masks, or None to leave the attention unmasked.
        precision: "fp32", or "bf16" for automatic mixed precision.

    Returns:
        Float32 class logits B x 2 and mask logits B x 2 x h x w.
    """
    if len(set(queries)) == 1:
        queries = queries[:1]  # serves all supports
    with torch.no_grad():
        query_tokens = features.tokens(queries)
        pooled = learner.pooled_supports
        of_supports = features.support_tokens if pooled else features.tokens
        support_tokens = of_supports(supports)
    once = not torch.is_grad_enabled() or rows_pay_in_training(features)
    compare = learner.compare_once if once else learner.compare
    with torch.autocast(
        features.device.type, torch.bfloat16, enabled=precision == "bf16"
    ):
        with torch.no_grad():
            compared = compare(query_tokens, support_tokens)
        class_logits, mask_logits = learner(compared, masks, features.grid)
    return class_logits.float(), mask_logits.float()


def predict(
    learner: Learner,
    dataset: VocDataset,
    features: Features,
    supervision: Supervision,
    plans: Sequence[EpisodePlan],
    precision: str = "fp32",
) -> list[Prediction]:
    """Classify and segment the queries of N-way K-shot episodes (equation 8).

    Every class and shot is run on its own; then the learner's ``combine`` brings maps
    to each query's original size and N x K answers to one (`cstlib.cst.combine`).
    Episodes are taken a few at a time, so that a query's features are still remembered
    for all its classes and shots.
    """
    found, start = [], 0
    while start < len(plans):
        pairs = plans[start].way * plans[start].shot
        end = start + max(1, pairs_at_once(features) // pairs)
        parts = (learner, dataset, features, supervision, plans[start:end], precision)
        found += _predict_together(*parts)
        start = end
    return found


def _predict_together(
    learner: Learner,
    dataset: VocDataset,
    features: Features,
    supervision: Supervision,
    plans: Sequence[EpisodePlan],
    precision: str,
) -> list[Prediction]:
    """`predict` for so few episodes that all their tokens stay in memory."""
    at_once = pairs_at_once(features)
    pairs = [
        (plan, name) for plan in plans for names in plan.supports for name in names
    ]
    if learner.pooled_supports:
        features.expect([name for _, name in pairs])
    masks = supervision.support_masks(plans)
    class_logits, mask_logits = [], []
    with torch.inference_mode():
        for start in range(0, len(pairs), at_once):
            chunk = slice(start, start + at_once)
            logits = forward_pairs(
                learner,
                features,
                [plan.query for plan, _ in pairs[chunk]],
                [name for _, name in pairs[chunk]],
                None if masks is None else masks[chunk],
                precision,
            )
            class_logits.append(logits[0])
            mask_logits.append(logits[1])
        features.forget_full()
        classes, maps = torch.cat(class_logits), torch.cat(mask_logits)
        found, start = [], 0
        for plan in plans:
            part = slice(start, start + plan.way * plan.shot)
            shape = (plan.way, plan.shot)
            size = dataset.original_size(plan.query)
            found.append(
                learner.combine(
                    classes[part].unflatten(0, shape),
                    maps[part].unflatten(0, shape),
                    size,
                )
            )
            start = part.stop
    return found


def measure(
    predictor: Predictor,
    dataset: VocDataset,
    way: int = 1,
    shot: int = 1,
    episodes: int = 1000,
    void: str = "background",
    progress: bool = False,
) -> Meter:
    """Run the first ``episodes`` test episodes through a predictor.

    The processes of `torchrun` share them out; each returns the sums over all.

    Args:
        predictor: a few plans -> predictions, labels at the queries' original sizes.

    Raises:
        CstlibError: a number makes no sense, or the data lack the images needed.
    """
    mine = distributed.share(protocol_plans(dataset, way, shot, episodes))
    plans, meter = iter(mine), Meter(dataset.classes, void)
    batch = max(1, HANDED // max(1, way * shot))
    bar = tqdm(total=len(mine), desc="evaluate", unit="ep", disable=not progress)
    with bar:
        while group := list(islice(plans, batch)):
            for plan, prediction in zip(group, predictor(group)):
                meter.update(
                    prediction.label,
                    prediction.presence,
                    measuring_mask(dataset, plan),
                    dataset.presence(plan),
                    plan.support_classes,
                )
            bar.update(len(group))
            if progress:
                now = meter.metrics()
                bar.set_postfix_str(
                    f"ER {100 * now.exact_ratio:.1f} mIoU {100 * now.miou:.1f}"
                )
    sums, whole = meter.sums(), Meter(dataset.classes, void)
    distributed.add_up(sums)
    whole.add(sums)
    return whole


def evaluate(
    learner: Learner,
    dataset: VocDataset,
    features: Features,
    supervision: Supervision,
    way: int = 1,
    shot: int = 1,
    episodes: int = 1000,
    void: str = "background",
    precision: str = "fp32",
    progress: bool = False,
) -> Metrics:
    """ER, mIoU and FB-IoU of a learner on the first ``episodes`` test episodes.

    ``supervision`` belongs to ``dataset`` and gives the support masks: the true ones
    for a learner of pixel-level training, else pseudo-masks of equations 9-11. Void
    pixels count as background, as in the release, unless ``void`` is "ignore".
    """
    parts = (learner, dataset, features, supervision)
    return evaluate_both(*parts, way, shot, episodes, precision, progress)[void]


def evaluate_both(
    learner: Learner,
    dataset: VocDataset,
    features: Features,
    supervision: Supervision,
    way: int = 1,
    shot: int = 1,
    episodes: int = 1000,
    precision: str = "fp32",
    progress: bool = False,
) -> dict[str, Metrics]:
    """As `evaluate`, under both treatments of void: "background" and "ignore"."""

    def predictor(plans: Sequence[EpisodePlan]) -> list[Prediction]:
        return predict(learner, dataset, features, supervision, plans, precision)

    was_training = learner.training
    learner.eval()
    try:
        meter = measure(predictor, dataset, way, shot, episodes, progress=progress)
    finally:
        learner.train(was_training)
    return {void: meter.metrics(void) for void in VOID_WAYS}


def protocol_plans(
    dataset: VocDataset, way: int, shot: int, episodes: int
) -> list[EpisodePlan]:
    """The first ``episodes`` test episodes by name, drawn before anything is computed.

    Raises:
        CstlibError: a number makes no sense, or a class has too few images.
    """
    if episodes < 1:
        raise CstlibError(
            f"Measuring on {episodes} episodes is not possible: give 1 or more."
        )
    return [dataset.plan(index, way, shot) for index in range(episodes)]
