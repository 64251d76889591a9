"""The README's table of recorded runs, made from the records: `python -m cstlib.summary`.

Nobody types a measured number by hand: a test compares the README with this output.
"""

from __future__ import annotations

from cstlib.records import read_records


def runs_table() -> str:
    """One Markdown row a recorded run, and the commands that made them below."""
    lines = [
        "| supervision | masks from | fold | seed | episodes | ER | mIoU | FB-IoU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    commands = []
    for record in read_records(kind="train", data="mini"):
        config, metrics = record["config"], record["metrics"]["background"]
        figures = [
            f"{100 * metrics[key]:.1f}" for key in ("exact_ratio", "miou", "fb_iou")
        ]
        settings = [
            config[key]
            for key in ("supervision", "mask_source", "fold", "seed", "episodes")
        ]
        lines.append("| " + " | ".join(map(str, settings + figures)) + " |")
        commands.append(record["command"])
    return "\n".join([*lines, "", "```sh", *commands, "```"])


if __name__ == "__main__":
    print(runs_table())
