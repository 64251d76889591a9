"""``python -m cstlib predict``: your own pictures, from a few examples of each class.

OUT/predictions.json      what was asked and answered, and what failed
OUT/support.jpg           what the learner was shown: each support and its mask
OUT/labels/<name>.png     palette: 0 background, 1..N the classes; original size
OUT/overlays/<name>.jpg   the picture with its classes painted on
OUT/json/<name>.json      probabilities, presence, pixels of each class
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from cstlib import files, records
from cstlib.errors import CstlibError
from cstlib.evaluation import PRECISIONS
from cstlib.plots.overlay import class_colours, draw_support
from cstlib.predicted import ImagePrediction
from cstlib.predictor import Predictor
from cstlib.user_images import shown
from cstlib.user_queries import find_queries
from cstlib.user_support import SupportImage


def add_parser(subparsers) -> None:
    """The command ``python -m cstlib predict``."""
    parser = subparsers.add_parser(
        "predict",
        help="classify and segment your own pictures",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Say which of your classes a picture shows, and where.\n\n"
        "The support folder holds a folder for each class with one to five pictures:\n"
        "  DIR/<class>/<name>.jpg        a picture, of any kind that Pillow reads\n"
        "  DIR/<class>/<name>.png        its mask (optional), beside a picture that is\n"
        "                                no PNG: black, and the object white\n"
        "  DIR/<class>/<name>.mask.png   its mask, beside a picture of any kind\n"
        "Pictures without a mask get a pseudo-mask from the backbone's attention.",
        epilog="Exit code 0 if all went well, 1 if some queries failed (they are "
        "listed),\n2 if nothing could be done. The default weights have only ever "
        "seen drawings\nlike the course's; photographs need --backbone dino-vits8 and "
        "a learner trained\nwith it as --checkpoint.",
    )
    add = parser.add_argument
    add("--support", type=_path, required=True, metavar="DIR", help="the examples")
    add(
        "--query",
        nargs="+",
        type=_path,
        required=True,
        metavar="FILES",
        help="pictures to look at, or folders of them",
    )
    add("--out", type=_path, required=True, metavar="DIR", help="folder of the results")
    add("--checkpoint", help="a trained learner, such as best.pt (one that ships)")
    add("--backbone", help="its name (the one that the learner was trained with)")
    add(
        "--threshold",
        type=float,
        default=0.5,
        help="probability above which a class is there, in the picture and in a pixel "
        "(0.5)",
    )
    add("--precision", choices=PRECISIONS, default="fp32", help="of the learner (fp32)")
    add("--device", help="cpu, cuda, ... (a GPU if there is one)")
    add(
        "--overwrite",
        action="store_true",
        help="write although the output folder holds something; files of the same "
        "names are replaced",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict as asked; 0 if all went well, 1 if a query failed."""
    _check_out(args.out, args.support, args.overwrite)
    predictor = Predictor(
        args.support,
        args.backbone,
        args.checkpoint,
        args.device,
        args.precision,
        args.threshold,
    )
    for note in predictor.notes:
        print(f"cstlib: note: {note}", file=sys.stderr)
    summary = _describe(predictor, args)
    # Claimed first: a folder that cannot be written is no news for afterwards.
    with files.replacing(args.out / "predictions.json") as temporary:
        _draw_support(predictor, args.out / "support.jpg")
        try:
            _predict_all(predictor, args, summary)
        except KeyboardInterrupt:
            summary["interrupted"] = True  # what is done stays, and is listed
        files.write_json(temporary, summary)
    if summary["interrupted"]:
        raise KeyboardInterrupt
    failures = summary["failures"]
    if failures:
        print(f"cstlib: {len(failures)} of the queries failed:", file=sys.stderr)
        for failure in failures:
            print(f"  {failure['why']}", file=sys.stderr)
    _say(f"Folder: {shown(args.out)}")
    return 1 if failures else 0


def _predict_all(
    predictor: Predictor, args: argparse.Namespace, summary: dict[str, Any]
) -> None:
    """Predict and write each query, adding it to the summary."""
    # Folders are listed before, so that the bar knows how much there is to do.
    queries = list(dict.fromkeys(query for query, _ in find_queries(args.query)))
    failures = summary["failures"]
    with tqdm(total=len(queries), desc="predict", unit="img", file=sys.stderr) as bar:
        for found in predictor.predict(queries, failures):
            summary["predictions"].append(found.save(args.out))
            with tqdm.external_write_mode(file=sys.stdout):
                _say(f"{found.source}: {_in_words(found)}")
            bar.update(len(summary["predictions"]) + len(failures) - bar.n)
        bar.update(len(queries) - bar.n)


def _in_words(found: ImagePrediction) -> str:
    """``mug (93%), key (61%)``, or ``none of the classes (at most mug, 12%)``."""
    by_probability = sorted(found.presence_prob.items(), key=lambda x: -x[1])
    there = [f"{name} ({p:.0%})" for name, p in by_probability if found.presence[name]]
    name, probability = by_probability[0]
    return (
        ", ".join(there) or f"none of the classes (at most {name}, {probability:.0%})"
    )


def _describe(predictor: Predictor, args: argparse.Namespace) -> dict[str, Any]:
    """What predictions.json says before any query."""
    names = predictor.class_names
    arguments = [shown(word) for word in args.argv]
    return {
        "kind": "predict",
        "command": records.command_line("predict", arguments),
        "backbone": predictor.backbone.name,
        "checkpoint": shown(predictor.checkpoint),
        "threshold": predictor.threshold,
        "precision": predictor.precision,
        "device": records.describe_device(predictor.device),
        "versions": records.versions(),
        "notes": predictor.notes,
        "classes": [
            {"name": name, "label": label, "colour": "#" + bytes(colour).hex()}
            for label, (name, colour) in enumerate(
                zip(names, class_colours(len(names))), start=1
            )
        ],
        "support": [
            {
                "class": image.class_name,
                "image": shown(image.path),
                "mask": shown(image.mask_path) if image.mask_path else "pseudo-mask",
                "marked": round(_mask(image).float().mean().item(), 4),
            }
            for image in predictor.support
        ],
        "predictions": [],
        "failures": [],
        "interrupted": False,
    }


def _mask(image: SupportImage) -> Tensor:
    """H x W bool; the predictor gives each support image one."""
    assert image.mask is not None
    return image.mask


def _draw_support(predictor: Predictor, path: Path) -> None:
    rows: dict[str, list] = {name: [] for name in predictor.class_names}
    for image in predictor.support:
        word = "given mask" if image.mask_path else "pseudo-mask"
        rows[image.class_name].append((image.thumbnail, _mask(image).numpy(), word))
    with files.replacing(path) as temporary:
        draw_support(rows).save(temporary, format="JPEG", quality=90)


def _check_out(out: Path, support: Path, overwrite: bool) -> None:
    """Refuse a folder where results would mix with something else."""
    if os.path.lexists(out) and not os.path.isdir(out):
        raise CstlibError(f"{shown(out)} is not a folder: choose another --out.")
    inside, around = Path(os.path.realpath(out)), Path(os.path.realpath(support))
    if inside == around or around in inside.parents:
        raise CstlibError(
            f"The output folder {shown(out)} lies in the support folder, where it "
            "would be taken for a class: choose another --out."
        )
    try:
        empty = not os.path.isdir(out) or not os.listdir(out)
    except OSError as error:
        raise CstlibError(
            f"Cannot read the folder {shown(out)} ({error.strerror}): choose another "
            "--out, or change its permissions."
        ) from error
    if not empty and not overwrite:
        raise CstlibError(
            f"The output folder {shown(out)} is not empty: choose a new one, or add "
            "--overwrite to replace the files of the same names."
        )


def _path(text: str) -> Path:
    """A path; an empty one, as from a shell's unset variable, is none."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty: name a file or a folder.")
    return Path(text)


def _say(text: str) -> None:
    """Print on any terminal, whatever letters it knows."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
