"""Every figure of the course as a pure function: data in, closed figure out.

from cstlib import plots
plots.episode(episode, class_names)
"""

from cstlib.plots.correlation import (
    layer_separation,
    patch_view,
    patch_view_grid,
    query_map_rows,
    show_map,
    show_patch,
)
from cstlib.plots.grids import Panel, live_episode, panels, prediction_grid
from cstlib.plots.images import (
    episode,
    folds,
    gallery,
    iou_by_hand,
    masks,
    painted,
    supervision,
)
from cstlib.plots.learner import (
    fitting,
    mask_on_its_way,
    parameter_bars,
    token_map_rows,
    token_maps,
)
from cstlib.plots.maps import (
    attention,
    attention_place,
    attention_share,
    mask_steps,
    pseudo_mask_rows,
    threshold_sweep,
    threshold_view,
)
from cstlib.plots.own import answer, shots
from cstlib.plots.pretraining import (
    attention_over_training,
    live_pretraining,
    pretraining_course,
)
from cstlib.plots.records import (
    bars,
    curves_with_spread,
    effects,
    fraction_of_masks,
)
from cstlib.plots.runs import (
    against_fraction,
    before_after,
    beside_paper,
    curves,
    results_bars,
)
from cstlib.plots.training import loss_curves, training_progress, validation_curves

__all__ = [
    "Panel",
    "against_fraction",
    "answer",
    "attention",
    "attention_over_training",
    "attention_place",
    "attention_share",
    "bars",
    "before_after",
    "beside_paper",
    "curves",
    "curves_with_spread",
    "effects",
    "episode",
    "fitting",
    "folds",
    "fraction_of_masks",
    "gallery",
    "iou_by_hand",
    "layer_separation",
    "live_episode",
    "live_pretraining",
    "loss_curves",
    "mask_on_its_way",
    "mask_steps",
    "masks",
    "painted",
    "panels",
    "parameter_bars",
    "patch_view",
    "patch_view_grid",
    "prediction_grid",
    "pretraining_course",
    "pseudo_mask_rows",
    "query_map_rows",
    "results_bars",
    "shots",
    "show_map",
    "show_patch",
    "supervision",
    "threshold_sweep",
    "threshold_view",
    "token_map_rows",
    "token_maps",
    "training_progress",
    "validation_curves",
]
