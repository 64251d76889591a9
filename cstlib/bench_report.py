"""The figures of `bench` as tables to read."""

from __future__ import annotations

from typing import Any

HEADER = (
    *("task", "path", "precision", "pixels", "batch", "way", "shot"),
    *("s a step", "per s", "x naive", "limit s", "peak MB", "steps' MB"),
)


def report(found: dict[str, Any]) -> str:
    """Everything that `bench` found, in lines of text."""
    rates = ", ".join(f"{p} {f / 1e12:.2f}" for p, f in found["flops"].items())
    lines = [
        f"{found['device']}; matrix products in Tflop/s: {rates}",
        "",
        *table(HEADER, [_cells(row) for row in found["rows"]]),
        "",
        "limit s: the paper's arithmetic, nothing done twice, at the rate above.",
        "peak MB: of the whole process; steps' MB: of that, what the steps added to",
        "Python, torch, weights and images.",
        "",
        "Parameters and multiply-accumulates (with products of activations), Table a.2:",
        *table(
            ("learner", "backbone", "params M", "MACs G", "params M", "MACs G", "MB"),
            [_complexity_cells(row) for row in found["table_a2"]],
        ),
    ]
    return "\n".join(lines)


def table(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """Lines with aligned columns: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    return [
        "  ".join(
            cell.ljust(width) if not cell[:1].isdigit() and i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in (header, *rows)
    ]


def _cells(row: dict[str, Any]) -> list[str]:
    speedup, memory = row["speedup"], row.get("memory")
    return [
        *(row["task"], row["path"], row["precision"]),
        *(str(row[key]) for key in ("image_size", "batch", "way", "shot")),
        f"{row['median_s']:.3f}",
        f"{row['per_s']:.2f}",
        "-" if speedup is None else f"{speedup:.1f}",
        f"{row['limit_s']:.3f}",
        "-" if memory is None else f"{memory['peak'] / 1e6:.0f}",
        "-" if memory is None else f"{(memory['peak'] - memory['before']) / 1e6:.0f}",
    ]


def _complexity_cells(row: dict[str, Any]) -> list[str]:
    cells = [row["learner"], row["backbone"]]
    for part in ("backbone", "learner"):
        macs, attention = row[f"{part}_macs"], row[f"{part}_attention_macs"]
        cells.append(f"{row[f'{part}_parameters'] / 1e6:.2f}")
        cells.append(f"{macs / 1e9:.2f} ({(macs + attention) / 1e9:.2f})")
    memory = row.get("memory")
    return [*cells, "-" if memory is None else f"{memory['peak'] / 1e6:.0f}"]
