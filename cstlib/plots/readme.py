"""The README's picture: held-out episodes and what the shipped learners say.

python -m cstlib.plots.readme docs/episodes.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from cstlib import files
from cstlib.features import open_features
from cstlib.finished import shipped_for
from cstlib.plots.grids import prediction_grid
from cstlib.worlds import load_world

EPISODES = (0, 3, 4, 7, 12)
LEARNERS = {
    "image-level": "cst-image-mini",
    "5% of the masks": "cst-mixed-mini",
    "pixel-level": "cst-pixel-mini",
}


def draw(out: str) -> None:
    """Draw 2-way 1-shot episodes of the fold that the learners hold out."""
    world = load_world("mini")
    features = open_features(world, world.backbone)
    held_out = world.dataset(0, "val")
    plans = [held_out.plan(index, way=2) for index in EPISODES]
    said = {}
    for title, name in LEARNERS.items():
        if learner := shipped_for(name, world, features):
            said[title] = learner.predict(plans)
    episodes = [held_out.load(plan) for plan in plans]
    figure = prediction_grid(episodes, said, held_out.class_names)
    with files.replacing(Path(out)) as temporary:
        figure.savefig(temporary, format="jpeg", dpi=110, pil_kwargs={"quality": 90})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    draw(sys.argv[1])
