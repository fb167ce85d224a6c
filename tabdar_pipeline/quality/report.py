"""One self-contained page about a synthetic table: the decision, the figures, the pictures."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

import pyarrow as pa

from tabdar_pipeline.quality import plots
from tabdar_pipeline.quality.attacks.risk import Risk
from tabdar_pipeline.quality.audit import Audit
from tabdar_pipeline.quality.figures import Figures
from tabdar_pipeline.schemas.table import TableSchema

EXPLAINED = {
    "shape_error": ("%", "lower", "mean distance between single columns"),
    "trend_error": ("%", "lower", "mean distance between pairs of columns"),
    "jsd": ("", "lower", "mean Jensen-Shannon distance between single columns"),
    "alpha_precision": ("%", "higher", "synthetic rows lie where real rows lie"),
    "beta_recall": ("%", "higher", "real rows have a synthetic row nearby"),
    "c2st_logistic": ("%", "higher", "a logistic regression cannot tell the tables apart"),
    "c2st_boosted": ("AUC", "0.5", "boosted trees cannot tell the tables apart"),
    "utility": ("", "higher", "trees trained on the table predict real rows (AUC or R²)"),
    "dcr_share": ("", "0.5", "rows are as near to unseen rows as to training rows"),
    "copies": ("share", "lower", "rows that equal a training row"),
    "off_support": ("share", "lower", "rows with a value the source cannot have"),
    "near_copies": ("risk, at least", "lower", "rows that are a training row but for a little noise"),
    "distance_ratio": ("risk, at least", "lower", "one row stands for one training row"),
    "singling_out": ("risk, at least", "lower", "a description fits one training row alone"),
    "linkability": ("risk, at least", "lower", "two halves of a training row find each other"),
    "membership": ("risk, at least", "lower", "one can tell whether a row was learned"),
    "inference": ("risk, at least", "lower", "a column of a training row can be told from the others"),
    "likelihood": (
        "risk, at least",
        "lower",
        "the model itself, which is not released, tells who was learned",
    ),
}

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;margin:0 auto;max-width:70rem;padding:1.5rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}h3{font-size:.95rem;margin:1.2rem 0 .3rem}p{margin:.3rem 0}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #e3e3e3;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}th{font-weight:600;font-size:.85rem;color:#555}
.verdict{padding:.7rem 1rem;border-radius:6px;margin:1rem 0;font-weight:600}
.yes{background:#e3f1ea;color:#0b5d3b}.no{background:#fbe9e4;color:#8f2d0c}
.verdict ul{font-weight:400;margin:.3rem 0 0 1.2rem;padding:0}img{max-width:100%;height:auto}small{color:#666}
@media print{body{max-width:none;padding:0}h2{break-after:avoid}img{break-inside:avoid}}
"""


_FLOOR = (
    "The floor is what real rows score that the model never saw: no honest table does better but by luck."
)


_KEPT_BACK = (
    "A level that too few rows share is not learned and never drawn; a number beyond the mean of the outermost "
    "rows is drawn as that mean. A column of which one row is enough was declared public in the contract."
)


_RISK = (
    *("attack", "what succeeds", "attacks", "on training rows", "on unseen rows", "blind guess"),
    *("risk", "at least", "at most"),
)
_ATTACKED = (
    "Each attack is run on training rows and, as a control, on real rows that the model never saw: what it gains "
    "on these says something of everyone, and of no one in particular. The risk is what it gains beyond, "
    "(training - unseen) / (1 - unseen), with a 95 % interval. Rows that another row equals are not attacked."
)
_SECRETS = (
    "All other columns of a person are known; this one is taken from the nearest synthetic row. "
    "The intervals hold for all columns together."
)


class Verdict(Protocol):
    """What a decision says: quality does not know where it comes from."""

    @property
    def passed(self) -> bool:
        """Accepted."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not."""

    @property
    def ceilings(self) -> Mapping[str, float]:
        """What each figure must not exceed, where it has such a limit."""


def html(
    figures: Figures,
    train: pa.Table,
    synthetic: pa.Table,
    schema: TableSchema,
    *,
    title: str,
    decision: Verdict | None = None,
    history: Sequence[Any] = (),
    protected: Mapping[str, Mapping[str, int]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """The page; it asks the network for nothing."""
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p><small>{_sizes(figures)}</small></p>",
        _verdict(decision) if decision is not None else "",
        "<h2>Figures</h2>",
        _table(figures),
        f"<p><small>{_FLOOR}</small></p>",
        _image(plots.floor_png(figures), "Each figure beside its floor"),
        "<h2>Columns</h2><p><small>Percent of rows; the title gives the shape error.</small></p>",
        _image(
            plots.columns_png(train, synthetic, schema, dict(figures.by_column)),
            "Each column, real and synthetic",
        ),
        "<h2>Pairs of columns</h2>",
        _image(plots.pairs_png(figures), "Error of each pair of columns"),
    ]
    if figures.audit is not None:
        ceilings = decision.ceilings if decision is not None else {}
        sections += ["<h2>Privacy</h2>", *_audit(figures.audit, ceilings)]
    if protected:
        sections += ["<h2>Protected</h2>", f"<p><small>{_KEPT_BACK}</small></p>", _protected(protected)]
    if history:
        sections += [
            "<h2>Learning</h2>",
            _image(plots.learning_png(history), "Losses over seconds of training"),
        ]
    if facts:
        sections += ["<h2>Lineage and settings</h2>", _facts(facts)]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>"
    )


def _sizes(figures: Figures) -> str:
    rows = figures.rows
    return (
        f"{rows['train']:,} training rows, {rows['holdout']:,} held out, {rows['synthetic']:,} synthetic; "
        f"{rows['compared']:,} compared, seed {figures.seed}"
    )


def _verdict(decision: Verdict) -> str:
    if decision.passed:
        return '<div class="verdict yes">Accepted: within every limit of the policy.</div>'
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in decision.reasons)
    return f'<div class="verdict no">Refused<ul>{reasons}</ul></div>'


def _table(figures: Figures) -> str:
    rows = []
    for name, value in figures.values.items():
        unit, better, meaning = EXPLAINED[name]
        rows.append(
            f'<tr><td>{name}</td><td class="n">{value:.4g}</td><td class="n">{figures.floor[name]:.4g}</td>'
            f"<td>{unit}</td><td>{better}</td><td>{meaning}</td></tr>"
        )
    head = "".join(
        f"<th>{h}</th>" for h in ("figure", "synthetic", "floor", "unit", "better", "what it says")
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _audit(audit: Audit, ceilings: Mapping[str, float]) -> list[str]:
    """The attacks, and inference column by column."""
    sections = [
        f"<p><small>{_ATTACKED}</small></p>",
        _image(plots.risks_png(audit.risks, ceilings), "Each attack's success and risk"),
        _grid(_RISK, [_risk(name, risk) for name, risk in audit.risks.items()]),
    ]
    if audit.secrets:
        sections += [
            f"<h3>Inference, column by column</h3><p><small>{_SECRETS}</small></p>",
            _image(plots.secrets_png(audit.secrets, ceilings), "Success and risk of inferring each column"),
        ]
    return sections


def _risk(name: str, risk: Risk) -> tuple[str | float, ...]:
    """One attack, in numbers."""
    rates = (rate.value for rate in (risk.train, risk.control, risk.baseline))
    return (name, EXPLAINED[name][2], risk.train.attacks, *rates, risk.value, risk.low, risk.high)


def _protected(protected: Mapping[str, Mapping[str, int]]) -> str:
    head = ("column", "rows that must share a value", "rare levels", "their cells", "numbers clipped")
    return _grid(head, [(name, *it.values()) for name, it in protected.items()])


def _grid(head: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """A table of at least one row; numbers and their names stand on the right."""
    names = "".join(
        f"<th{'' if isinstance(value, str) else ' class=n'}>{name}</th>"
        for name, value in zip(head, rows[0], strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    number = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return f'<td class="n">{number}</td>'


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>" for k, v in facts.items())
    return f"<table><tbody>{rows}</tbody></table>"


def _image(png: bytes, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
