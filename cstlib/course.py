"""The first cell of every notebook: which world, and how much patience.

    from cstlib.course import setup
    course = setup()

Environment variables steer all notebooks at once. ``CSTLIB_WORLD`` (mini, pascal or
coco) is the world that they look at; ``CSTLIB_BUDGET`` (walkthrough or test) says
whether they compute what a reader should see or just enough for a test.
``CSTLIB_BACKBONE`` names another backbone than the world's own, like dino-vits8-300ep;
images then have the size that it looks at.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cstlib.errors import CstlibError
from cstlib.worlds import World, load_world, with_backbone

BACKBONE = "CSTLIB_BACKBONE"
# The world and backbone that the notebooks' claims were measured with.
RECORDED = ("mini", "dino-mini")
NOT_HERE = "Does not hold here"
BUDGETS = ("walkthrough", "test")


@dataclass(frozen=True)
class Course:
    """What a notebook needs to know about where it runs.

    Attributes:
        world: the benchmark: its images, classes, folds and backbone.
        budget: "walkthrough" or "test".
    """

    world: World
    budget: str

    def episodes(self, walkthrough: int, test: int) -> int:
        """The number of episodes (or steps, or images) for the budget that is on."""
        return walkthrough if self.budget == "walkthrough" else test

    def shows(self, backbone: str, what: str) -> bool:
        """Whether this is the world of that backbone; else says that ``what`` is not.

        For what was recorded of one backbone and cannot be made again in a notebook.
        """
        if self.world.backbone == backbone:
            return True
        print(f"Skipped with {self.world.backbone}: {what} of {backbone}.")
        return False

    def claim(self, holds: bool, text: str) -> None:
        """Assert what the notebook says, and print it once it is known to hold.

        ``text`` states the claim with its margin and without measured figures, so
        that the line is the same on every machine and at every budget. Claims were
        measured on the miniature with its own backbone. Elsewhere one that does not
        hold is a finding: it is said, and the notebook goes on.

        Raises:
            AssertionError: it does not hold, on the miniature.
        """
        if holds:
            print(f"Holds: {text}")
        elif (self.world.name, self.world.backbone) == RECORDED:
            raise AssertionError(f"This should hold here, and does not: {text}")
        else:
            where = f"{self.world.name}, {self.world.backbone}"
            print(f"{NOT_HERE} ({where}): {text}")


def setup(world: str | None = None) -> Course:
    """Load the world, set the look of the figures, and say in a line what is on.

    Args:
        world: "mini", "pascal" or "coco"; by default ``CSTLIB_WORLD``, else "mini".
            The miniature is rendered the first time that it is asked for.

    Raises:
        CstlibError: there is no such world, backbone or budget, or the world's data
            are missing.
    """
    chosen = load_world(world)
    if backbone := os.environ.get(BACKBONE):
        chosen = with_backbone(chosen, backbone)
    course = Course(chosen, read_budget())
    set_look()
    print(banner(course))
    return course


def read_budget() -> str:
    """The budget that ``CSTLIB_BUDGET`` asks for, "walkthrough" by default.

    Raises:
        CstlibError: there is no such budget.
    """
    budget = os.environ.get("CSTLIB_BUDGET") or "walkthrough"
    if budget not in BUDGETS:
        raise CstlibError(
            f"CSTLIB_BUDGET is {budget!r}: set it to {' or '.join(BUDGETS)}, or unset "
            "it."
        )
    return budget


def banner(course: Course) -> str:
    """One line: the world, its data, its backbone and the budget."""
    world = course.world
    budget = {
        "walkthrough": "walkthrough",
        "test": "test (so few episodes that figures mean little)",
    }[course.budget]
    return (
        f"World {world.name}: {len(world.class_names)} classes in {world.n_folds} "
        f"folds, {world.image_size}x{world.image_size} pixels. "
        f"Backbone: {world.backbone}. Budget: {budget}."
    )


def set_look() -> None:
    """Figures on white, as JPEG at one size on every screen and in every browser."""
    from IPython import get_ipython
    from matplotlib import pyplot

    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # Drawings with grain are several times smaller as JPEG than as PNG, and the
        # notebooks are kept with their figures.
        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 90})
    pyplot.style.use("default")
    pyplot.rcParams.update(
        {
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
