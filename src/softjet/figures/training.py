"""Figures of a training: its curves, the confusion of classes, and rejection against efficiency."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from softjet.figures.style import COLOURS, LINES, new_figure, save_figure

NORMAL = 1.96
"""Half a 95 % interval in standard errors."""

FEW = 4
"""Classes below which the confusion matrix is laid out as a square."""


def draw_history(history: pd.DataFrame, target: str | Path, batch_size: int, n_validation: int) -> None:
    """Loss (left) and validation accuracy with its 95 % interval (right) against the training step.

    Parameters
    ----------
    history : DataFrame
        As of `softjet.part.train.train_part`.
    target : path
        PNG; a PDF is written beside it.
    batch_size, n_validation : int
        Jets a step; jets of the validation split.
    """
    figure, (loss, accuracy) = new_figure(1, 2)
    measured = history.dropna(subset="validation_loss")
    smooth = history["loss"].rolling(max(1, len(history) // 25), center=True, min_periods=1).mean()
    loss.plot(history["step"], history["loss"], color=COLOURS[5], alpha=0.5, linewidth=0.7)
    loss.plot(history["step"], smooth, color=COLOURS[0], label=f"training, {batch_size} jets a step (mean)")
    loss.plot(
        measured["step"],
        measured["validation_loss"],
        LINES[1] + "o",
        color=COLOURS[1],
        label=f"validation, {n_validation:,} jets",
    )
    loss.set(xlabel="training step", ylabel="cross-entropy")
    loss.legend()
    _accuracy_panel(accuracy, measured, n_validation)
    save_figure(figure, target)


def draw_confusion(confusion: pd.DataFrame, target: str | Path) -> None:
    """Confusion matrix: of the jets of each class (row), the percentage taken for each class (column).

    Parameters
    ----------
    confusion : DataFrame
        As of `softjet.part.evaluate.confusion_table`.
    target : path
        PNG; a PDF is written beside it.
    """
    names = list(dict.fromkeys(confusion["class"]))
    percent = 100 * confusion["share"].to_numpy().reshape(len(names), -1)
    counts = confusion.groupby("class", sort=False)["n"].sum()
    figure, axes = new_figure(width=6.2, height=5.2)
    image = axes.imshow(percent, vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(percent):
        if np.isfinite(value):
            axes.text(
                j, i, f"{value:.0f}", ha="center", va="center", color="w" if value < 55 else "k", fontsize=9
            )
    axes.set_xticks(range(len(names)), names, rotation=45)
    axes.set_yticks(range(len(names)), [f"{name} ({counts[name]:,})" for name in names])
    axes.tick_params(which="both", length=0)
    axes.minorticks_off()
    axes.set(xlabel="predicted class", ylabel="true class (number of jets)")
    if len(names) < FEW:
        # Names of few classes are short: the square is as high as the figure, and its label left of the edge.
        figure.set_layout_engine("compressed")
    figure.colorbar(image, label="% of the class's jets", shrink=0.9)
    save_figure(figure, target)


def draw_roc(roc: pd.DataFrame, target: str | Path) -> None:
    """Rejection of background jets against signal efficiency; dotted where too few jets are left to quote it.

    Parameters
    ----------
    roc : DataFrame
        As of `softjet.part.evaluate.roc_table`.
    target : path
        PNG; a PDF is written beside it.
    """
    figure, axes = new_figure(width=6.2, height=4.6)
    for i, (name, curve) in enumerate(roc.groupby("class", sort=False)):
        colour, line = COLOURS[i % len(COLOURS)], LINES[i // len(COLOURS)]
        finite = curve["rejection"].where(np.isfinite(curve["rejection"]))
        axes.plot(curve["efficiency"], finite.where(curve["quoted"]), line, color=colour, label=name)
        axes.plot(
            curve["efficiency"], finite.mask(curve["quoted"]), ":", color=colour, linewidth=0.7, alpha=0.5
        )
    if roc.empty:
        axes.text(0.5, 0.5, "no background class", ha="center", transform=axes.transAxes)
    else:
        _label_roc(axes, int(roc["n"].max()), roc["background"].iloc[0])
    save_figure(figure, target)


def _label_roc(axes: Axes, n: int, background: str) -> None:
    said = f"{n:,} {background} jets; dotted: too few jets above or below the cut to quote a number"
    axes.text(0.04, 1.8, said, fontsize=9)
    axes.set(xlabel="signal efficiency", ylabel=f"rejection of {background} jets, 1 / FPR")
    axes.set(yscale="log", xlim=(0, 1), ylim=(1, 4 * n))
    axes.legend(ncols=3, loc="upper right")


def _accuracy_panel(axes: Axes, measured: pd.DataFrame, n: int) -> None:
    accuracy = measured["validation_accuracy"].to_numpy()
    half = NORMAL * np.sqrt(accuracy * (1 - accuracy) / n)
    axes.errorbar(measured["step"], accuracy, half, fmt=LINES[1] + "o", color=COLOURS[1], capsize=2)
    if len(accuracy):
        said = f"{accuracy[-1]:.3f} ± {half[-1]:.3f} (95 %)"
        axes.text(0.97, 0.05, said, ha="right", va="bottom", transform=axes.transAxes)
    axes.set(xlabel="training step", ylabel=f"validation accuracy ({n:,} jets; bars: 95 %)")
