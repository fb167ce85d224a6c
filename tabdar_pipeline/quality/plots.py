"""Figures to look at, as PNG bytes: columns side by side, pairs, learning, distances from the floor."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from tabdar_pipeline.quality.attacks.risk import Rate, Risk
from tabdar_pipeline.quality.figures import Figures
from tabdar_pipeline.quality.plain import Plain, plain
from tabdar_pipeline.schemas.columns import Kind
from tabdar_pipeline.schemas.table import TableSchema

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REAL, MADE, QUIET, BOUND = (
    "#4d4d4d",
    "#0072b2",
    "#c9c9c9",
    "#d55e00",
)  # told apart by the colour-blind, and in print
WIDTH = 3  # plots a row
BARS = 12
COLUMNS = 24  # plots in one picture


def columns_png(train: pa.Table, synthetic: pa.Table, schema: TableSchema, errors: dict[str, float]) -> bytes:
    """Each column of both tables; those that differ most come first, where there are too many."""
    real, made = plain([train, synthetic], schema)
    names = sorted(real.names, key=lambda n: -errors.get(n, 0.0))[:COLUMNS]
    names = [n for n in schema.names if n in names]
    levels = {n: _levels(train, synthetic, n) for n in names if n in real.category_names}
    rows = -(-len(names) // WIDTH)
    figure = _figure(WIDTH * 3.1, rows * 2.1)
    axes = figure.subplots(rows, WIDTH, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        if name in levels:
            _bars(axis, levels[name])
        else:
            _lines(axis, real, made, real.number_names.index(name))
            if schema[name].kind is Kind.DATETIME and not pa.types.is_time(train[name].type):
                _dates(axis)
        axis.set_title(f"{name[:28]}   {errors.get(name, 0):.1f} %", fontsize=8, loc="left")
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7, frameon=False)
    return _png(figure)


def missingness_png(rows: pa.Table) -> bytes:
    """Which columns are missing together: the most frequent patterns, one a line, with their shares."""
    names = [n for n in rows.column_names if rows[n].null_count][:COLUMNS]
    figure = _figure(0.4 * len(names) + 3, 3.2)
    axis = figure.subplots()
    if names:
        gone = np.stack([np.asarray(rows[n].is_null().to_numpy()) for n in names], axis=1)
        patterns, counts = np.unique(gone, axis=0, return_counts=True)
        most = np.argsort(-counts)[:BARS]
        axis.imshow(patterns[most], cmap="Greys", vmin=0, vmax=1.5, aspect="auto")
        axis.set_xticks(np.arange(len(names)), [n[:20] for n in names], rotation=90, fontsize=7)
        shares = [f"{counts[i] / len(rows):.1%}" for i in most]
        axis.set_yticks(np.arange(len(most)), shares, fontsize=7)
    axis.set_title("missing (dark), and the share of rows", fontsize=8, loc="left")
    return _png(figure)


def pairs_png(figures: Figures) -> bytes:
    """Pair errors as a heat map: percent, darker is worse."""
    size = min(0.28 * len(figures.columns) + 2.2, 11)
    figure = _figure(size + 1, size)
    axis = figure.subplots()
    errors = np.array([[np.nan if e is None else e for e in row] for row in figures.pairs], float)
    image = axis.imshow(errors, cmap="cividis_r", vmin=0, vmax=max(5.0, np.nanmax(errors, initial=0)))
    ticks = np.arange(len(figures.columns))
    labels = [name[:20] for name in figures.columns]
    axis.set_xticks(ticks, labels, rotation=90, fontsize=7)
    axis.set_yticks(ticks, labels, fontsize=7)
    figure.colorbar(image, ax=axis, label="pair error, %", shrink=0.8)
    return _png(figure)


def floor_png(figures: Figures) -> bytes:
    """Errors beside their floors: how near the table is to fresh real rows."""
    names = [
        n
        for n in ("shape_error", "trend_error", "jsd", "c2st_boosted", "utility", "beta_recall", "dcr_share")
        if n in figures.values
    ]
    figure = _figure(1.45 * len(names) + 0.4, 2.3)
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        values = [figures.floor[name], figures.values[name]]
        bars = axis.bar(["floor", "synthetic"], values, color=[QUIET, MADE], width=0.6)
        axis.bar_label(bars, labels=[f"{v:.3g}" for v in values], fontsize=7)
        axis.set_title(name, fontsize=8)
        axis.set_yticks([])
        axis.tick_params(axis="x", labelsize=7)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.margins(y=0.2)
    return _png(figure)


def risks_png(risks: Mapping[str, Risk], limits: Mapping[str, float]) -> bytes:
    """Attacks one a line: how often they succeed, and the risk with its interval beside its limit."""
    figure = _figure(8.6, 0.3 * len(risks) + 1.1)
    rates, gains = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(risks))
    for beside, rate, color, label in (
        (0.2, [r.baseline for r in risks.values()], QUIET, "a guess that looks at no row"),
        (0.0, [r.control for r in risks.values()], REAL, "on unseen rows"),
        (-0.2, [r.train for r in risks.values()], MADE, "on training rows"),
    ):
        _intervals(rates, place + beside, rate, color, label)
    values = [Rate(r.value, r.low, r.high, r.train.attacks) for r in risks.values()]
    _intervals(gains, place, values, MADE, "risk")
    bounds = [limits.get(name, np.nan) for name in risks]
    if np.isfinite(bounds).any():
        gains.plot(
            bounds, place, "|", color=BOUND, markersize=13, markeredgewidth=2, label="limit of its low end"
        )
    for axis, title in (
        (rates, "success of the attack"),
        (gains, "risk: success beyond that on unseen rows"),
    ):
        axis.set_title(title, fontsize=8, loc="left")
        axis.set_xlim(-0.02, 1.02)
        axis.tick_params(labelsize=7)
        axis.grid(axis="x", color="#eeeeee")
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.legend(
            fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.16 * 3 / len(risks)), ncols=3
        )
    rates.set_yticks(place, [name[:28] for name in risks])
    rates.invert_yaxis()
    return _png(figure)


def secrets_png(secrets: Mapping[str, Risk], limits: Mapping[str, float]) -> bytes:
    """The same for the inference of each column; all have the limit of inference."""
    return risks_png(secrets, {name: limits["inference"] for name in secrets if "inference" in limits})


def _intervals(axis: "Axes", place: Any, rates: Sequence[Rate], color: str, label: str) -> None:
    values = np.array([r.value for r in rates])
    low, high = np.array([r.low for r in rates]), np.array([r.high for r in rates])
    axis.errorbar(
        values, place, xerr=[values - low, high - values], fmt="o", ms=4, lw=1.5, color=color, label=label
    )


def learning_png(history: Sequence[Any]) -> bytes:
    """Validation loss over time, its two parts, and where the best weights were."""
    figure = _figure(7.5, 2.6)
    left, right = figure.subplots(1, 2)
    seconds = [r.seconds for r in history]
    left.plot(seconds, [r.train_loss for r in history], color=QUIET, label="training")
    left.plot(seconds, [r.validation_loss for r in history], color=MADE, label="validation")
    best = min(history, key=lambda r: r.validation_loss)
    left.plot(best.seconds, best.validation_loss, "o", color=MADE, label="best weights")
    right.plot(seconds, [r.denoising for r in history], color=REAL, label="denoising loss")
    left.set_ylabel("loss, nats a row", fontsize=8)
    for axis in (left, right):
        axis.set_xlabel("seconds", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _dates(axis: "Axes") -> None:
    """Microseconds since 1970 are written as months, days or minutes, by how far they reach."""
    from matplotlib.ticker import MaxNLocator

    low, high = axis.get_xlim()
    days = (high - low) / 86_400e6
    unit: Literal["M", "D", "m"] = "M" if days > 120 else "D" if days > 4 else "m"

    def written(microseconds: float, _: float) -> str:
        return str(np.datetime_as_string(np.datetime64(int(microseconds), "us"), unit=unit))

    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_formatter(written)


def _lines(axis: "Axes", real: Plain, made: Plain, p: int) -> None:
    """Histograms on bins of the real table's middle 99 %, so that a long tail does not hide the rest."""
    x, y = real.numbers[:, p], made.numbers[:, p]
    low, high = np.quantile(x, [0.005, 0.995])
    low, high = (low, high) if high > low else (x.min() - 0.5, x.max() + 0.5)
    edges = np.linspace(low, high, 41)
    real_share, made_share = (
        100 * np.histogram(np.clip(values, low, high), edges)[0] / len(values) for values in (x, y)
    )
    axis.stairs(real_share, edges, fill=True, color=QUIET, label="real")
    axis.stairs(made_share, edges, color=MADE, label="synthetic")
    _quiet(axis)


def _bars(axis: "Axes", levels: list[tuple[str, float, float]]) -> None:
    shown = levels[:BARS]
    place = np.arange(len(shown))
    axis.bar(place - 0.2, [r for _, r, _ in shown], 0.4, color=QUIET, label="real")
    axis.bar(place + 0.2, [m for _, _, m in shown], 0.4, color=MADE, label="synthetic")
    axis.set_xticks(place, [name[:10] for name, _, _ in shown], rotation=40, ha="right")
    if len(levels) > BARS:
        axis.set_xlabel(f"{BARS} of {len(levels)} levels", fontsize=6)
    _quiet(axis)


def _levels(train: pa.Table, synthetic: pa.Table, name: str) -> list[tuple[str, float, float]]:
    """Levels with their percent in both tables, most frequent first."""
    import pandas as pd

    shares = [
        100 * pd.Series(t[name].to_pandas().astype("object")).astype(str).value_counts(normalize=True)
        for t in (train, synthetic)
    ]
    both = pd.concat(shares, axis=1, keys=["real", "made"]).fillna(0.0).sort_values("real", ascending=False)
    return [(str(level), float(r), float(m)) for level, r, m in both.itertuples()]


def _quiet(axis: "Axes") -> None:
    axis.tick_params(labelsize=6)
    axis.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()
