"""The README's picture: held-out episodes and what two finished learners say.

python -m cstlib.plots.readme IMAGE_LEVEL.pt PIXEL_LEVEL.pt docs/episodes.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from cstlib import files
from cstlib.baselines import load_learner
from cstlib.checkpoints import load_checkpoint
from cstlib.evaluation import predict
from cstlib.features import open_features
from cstlib.plots.grids import prediction_grid
from cstlib.supervision import make_supervision
from cstlib.worlds import load_world

EPISODES = (0, 3, 4, 7, 12)


def draw(image_level: str, pixel_level: str, out: str) -> None:
    """Draw 2-way 1-shot episodes of the fold that both checkpoints hold out."""
    world = load_world("mini")
    said = {}
    for title, path in (("image-level", image_level), ("pixel-level", pixel_level)):
        config = load_checkpoint(path)["config"]
        held_out = world.dataset(config["fold"], "val")
        features = open_features(world, config["backbone"])
        supervision = make_supervision(
            config["supervision"], config["mask_source"], world, held_out, features
        )
        plans = [held_out.plan(index, way=2) for index in EPISODES]
        said[title] = predict(
            load_learner(path).learner.eval(), held_out, features, supervision, plans
        )
    episodes = [held_out.load(plan) for plan in plans]
    figure = prediction_grid(episodes, said, held_out.class_names)
    with files.replacing(Path(out)) as temporary:
        figure.savefig(temporary, format="jpeg", dpi=110, pil_kwargs={"quality": 90})


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    draw(*sys.argv[1:])
