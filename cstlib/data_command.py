"""``python -m cstlib data``: prepare the miniature, Pascal-5i or COCO-20i."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from cstlib.data.prepared import Report
from cstlib.data.published import Comparison
from cstlib.errors import CstlibError
from cstlib.paths import data_home


def add_parser(subparsers) -> None:
    """The command ``python -m cstlib data``, with one entry for each benchmark."""
    parser = subparsers.add_parser("data", help="prepare a benchmark's data")
    names = parser.add_subparsers(dest="dataset", required=True)
    _add_mini(names)
    _add_benchmark(
        names,
        "pascal",
        "Pascal-5i: VOC2012 and SBD (3.4 GB to fetch, twice that with what is unpacked)",
        run_pascal,
    )
    _add_benchmark(
        names,
        "coco",
        "COCO-20i: COCO 2014 (20 GB to fetch, twice that with what is unpacked)",
        run_coco,
    )


def _add_mini(names) -> None:
    mini = names.add_parser("mini", help="render Mini-5i, the built-in benchmark")
    mini.add_argument("--seed", type=int, default=0, help="of the drawings (0)")
    mini.add_argument("--train", type=int, default=2000, help="training images (2000)")
    mini.add_argument("--val", type=int, default=500, help="validation images (500)")
    mini.add_argument(
        "--layout",
        choices=("voc", "coco"),
        default="voc",
        help="folder in the VOC layout, or COCO's JSON with COCO's folds (voc)",
    )
    mini.add_argument("--out", type=Path, help="folder (the data folder's mini/)")
    mini.set_defaults(run=run_mini)


def _add_benchmark(names, name: str, summary: str, run: Callable) -> None:
    parser = names.add_parser(
        name,
        help=summary,
        description=f"{summary}. Takes what lies in the --root folder, downloads what "
        "is missing from the official hosts, and writes masks, lists and labels.",
    )
    add = parser.add_argument
    add("--root", type=Path, help=f"folder of the originals (the data folder's {name})")
    add("--out", type=Path, help=f"prepared folder (the data folder's {name}/)")
    add("--lists", type=Path, help="folder of given lists, instead of building them")
    add(
        "--verify",
        action="store_true",
        help="only check what is there; exit 0 if complete and the benchmark's own, 1 "
        "if complete with other lists, 2 if not complete",
    )
    parser.set_defaults(run=run)


def run_mini(args: argparse.Namespace) -> int:
    """Render what is asked for, or say that it is there already."""
    from cstlib.data.mini import build_mini, ensure_mini

    if args.layout == "coco":
        from cstlib.data.mini_coco import build_mini_coco as build
        from cstlib.data.mini_coco import ensure_mini_coco as ensure

        place, title = "mini-coco", "The miniature in COCO's layout"
    else:
        build, ensure = build_mini, ensure_mini
        place, title = "mini", "Mini-5i"
    defaults = (args.seed, args.train, args.val) == (0, 2000, 500)
    root = args.out or data_home() / place
    if args.out is None and defaults:
        ensure()
    else:
        build(root, args.seed, args.train, args.val)
    print(f"{title} is in {root}.")
    return 0


def run_pascal(args: argparse.Namespace) -> int:
    """Prepare Pascal-5i, or check it."""
    from cstlib.data.pascal import prepare_pascal, verify_pascal

    return _run(args, "pascal", "Pascal-5i", prepare_pascal, verify_pascal)


def run_coco(args: argparse.Namespace) -> int:
    """Prepare COCO-20i, or check it."""
    from cstlib.data.coco import prepare_coco, verify_coco

    return _run(args, "coco", "COCO-20i", prepare_coco, verify_coco)


def _run(
    args: argparse.Namespace,
    name: str,
    title: str,
    prepare: Callable[[Path, Path, Path | None], Comparison],
    verify: Callable[[Path, Path], tuple[Report, bool]],
) -> int:
    out = args.out or data_home() / name
    root = args.root or out
    if args.verify:
        if args.lists:
            raise CstlibError(
                "--verify changes nothing, so it takes no --lists: leave one of the "
                "two out."
            )
        report, identical = verify(root, out)
        print("\n".join(report.lines))
        if report.problems:
            raise CstlibError(
                f"{title} is not complete ({report.problems} of the checks failed): "
                f"run `python -m cstlib data {name}` with the same folders."
            )
        return 0 if identical else 1
    if args.lists and not args.lists.is_dir():
        raise CstlibError(
            f"There is no folder of lists {args.lists}: give one with trn/ and val/."
        )
    comparison = prepare(root, out, args.lists)
    print("\n".join(comparison.lines))
    word = name if args.out is None else out
    print(f"{title} is prepared in {out}: use it with --data {word}.")
    return 0
