"""A training's curve as an image: every term of the loss over the steps, beside curve.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SMOOTHING = 20  # logged values per point of the smooth line


def draw_curve(rows: list[dict[str, float]], path: Path) -> None:
    """Write a PNG of the logged `rows` (step and one value per term); it appears as a whole."""
    # Without pyplot there is no global state and no display to be missing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in rows[0] if name != "step"]
    steps = np.array([row["step"] for row in rows])
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        values = np.array([row[name] for row in rows])
        axes.plot(steps, values, linewidth=0.6, alpha=0.5)
        axes.plot(steps, smooth(values), linewidth=1.5)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    partial = path.with_suffix(".partial")
    figure.savefig(partial, format="png", dpi=100)
    partial.replace(path)


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean (N,) over the last `SMOOTHING` values; over fewer at the beginning."""
    total = np.cumsum(values)
    width = np.minimum(np.arange(1, len(values) + 1), SMOOTHING)
    before = np.where(np.arange(len(values)) >= SMOOTHING, np.roll(total, SMOOTHING), 0.0)
    mean: np.ndarray = (total - before) / width
    return mean
