"""What goes with a release that leaves the building: a data contract, a dbt source, a data card, a model card.

The contract follows the Open Data Contract Standard, version 3.0.2 (bitol.io).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabdar_pipeline.quality import audit

ATTACKS = (*audit.NAMES, audit.LIKELIHOOD)
ODCS = "v3.0.2"
_LOGICAL = {
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DECIMAL": "number",
    "FLOAT": "number",
    "DOUBLE": "number",
}


@dataclass(frozen=True, slots=True)
class Released:
    """A release, as its documents describe it."""

    schema: str  # of the view that serves
    table: str
    types: Mapping[str, str]  # DuckDB's, by column
    comments: Mapping[str, str]
    manifest: Mapping[str, Any]  # as it was published

    @property
    def target(self) -> str:
        """The view, as the warehouse writes it."""
        return str(self.manifest["target"])

    @property
    def version(self) -> str:
        """A release is a major version: rows are never changed within one.

        >>> Released("s", "t", {}, {}, {"number": 3}).version
        '3.0.0'
        """
        return f"{self.manifest['number']}.0.0"

    def terms(self, column: str) -> Mapping[str, Any]:
        """What every row of the view keeps of a column; a manifest of before does not say.

        Other partitions may have other values.
        """
        found: Mapping[str, Any] = self.manifest.get("terms", {}).get(column, {})
        return {**found, "values": None} if self.partition else found

    @property
    def imputed(self) -> bool:
        """Whether its rows are real ones whose missing cells were filled."""
        return self.manifest.get("kind") == "imputed"

    @property
    def partition(self) -> str | None:
        """Which part of the source it stands for: "north (region)"; None for all of it."""
        found = self.manifest.get("partition") or None
        return found and f"{found['key']} ({found['by']})"


def documents(it: Released) -> dict[str, str]:
    """The text of each file, by name."""
    return {
        "datacontract.yaml": _dumped(data_contract(it)),
        "sources.yml": _dumped(dbt_sources(it)),
        "DATA_CARD.md": data_card(it),
        "MODEL_CARD.md": model_card(it),
    }


def data_contract(it: Released) -> dict[str, Any]:
    """The release as an ODCS data contract."""
    properties = [
        {
            "name": name,
            "physicalType": kind,
            "logicalType": logical_type(kind),
            **({"description": it.comments[name]} if name in it.comments else {}),
            "required": bool(it.terms(name).get("required")),
            "unique": bool(it.terms(name).get("unique")),
            **_quality(it.terms(name)),
        }
        for name, kind in it.types.items()
    ]
    source = it.manifest["source"]
    server = {"server": "warehouse", "type": "duckdb", "database": source["database"], "schema": it.schema}
    return {
        "apiVersion": ODCS,
        "kind": "DataContract",
        "id": f"{it.target}:r{it.manifest['number']:04d}",
        "name": it.target,
        "version": it.version,
        "status": "active",
        "description": _described(it),
        "servers": [server],
        "schema": [
            {
                "name": it.table,
                "physicalType": "view",
                "logicalType": "object",
                "properties": properties,
                **({} if it.partition else {"quality": [_library("rowCount", mustBe=it.manifest["rows"])]}),
            }
        ],
        "customProperties": [
            {"property": "rowCount", "value": it.manifest["rows"]},
            {"property": "rowsHash", "value": it.manifest["rows_hash"]},
            {"property": "modelFingerprint", "value": it.manifest["model_fingerprint"]},
            *([{"property": "partition", "value": it.partition}] if it.partition else []),
        ],
    }


def _quality(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Rules of ODCS's library for one column."""
    rules: list[dict[str, Any]] = []
    if terms.get("unique"):
        rules.append(_library("duplicateCount", mustBe=0))
    if terms.get("values") is not None:
        rules.append(_library("validValues", validValues=list(terms["values"])))
    return {"quality": rules} if rules else {}


def _library(rule: str, **wanted: Any) -> dict[str, Any]:
    """A rule that the standard defines."""
    return {"type": "library", "rule": rule, **wanted}


def _described(it: Released) -> dict[str, str]:
    """Purpose, use and limits, in ODCS's words."""
    table = it.manifest["source"]["table"]
    if it.imputed:
        return {
            "purpose": f"The rows of {table}, with missing cells filled; flags beside the table say which.",
            "usage": "As the source is used, where a method needs whole rows.",
            "limitations": "The rows are real ones, and a filled cell is an estimate: treat it as the source.",
        }
    return {
        "purpose": f"Synthetic rows that stand for {table}.",
        "usage": "Analysis, development, tests and teaching, where the real rows must not go.",
        "limitations": f"{_copied(it.manifest)}Do not use it for decisions about single persons or things.",
    }


def _copied(manifest: Mapping[str, Any]) -> str:
    """What was found of rows that equal a real one; nothing where that was not measured."""
    share = manifest.get("figures", {}).get("copies")
    if share is None:
        return ""
    if share == 0:
        return "Of the rows that were compared, none equals a row that was learned. "
    return (
        f"Of the rows that were compared, {share:.2%} equal a row that was learned; among fresh real rows "
        f"{manifest['floor']['copies']:.2%} would. "
    )


def dbt_sources(it: Released) -> dict[str, Any]:
    """The release as a source of a dbt project."""
    columns = [
        {
            "name": name,
            "data_type": kind,
            **({"description": it.comments[name]} if name in it.comments else {}),
            **_tests(it.terms(name)),
        }
        for name, kind in it.types.items()
    ]
    entry = {
        "name": it.table,
        "description": f"{_described(it)['purpose']} Release {it.manifest['number']} of {it.manifest['created'][:10]}.",
        "columns": columns,
    }
    return {"version": 2, "sources": [{"name": it.schema, "schema": it.schema, "tables": [entry]}]}


def _tests(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Tests of dbt's own, of one column."""
    tests: list[Any] = [
        name for name, key in (("not_null", "required"), ("unique", "unique")) if terms.get(key)
    ]
    if terms.get("values") is not None:
        tests.append({"accepted_values": {"values": list(terms["values"])}})
    return {"data_tests": tests} if tests else {}


def data_card(it: Released) -> str:
    """What the table is, for whom, how near to the truth, and what was kept back."""
    source, manifest = it.manifest["source"], it.manifest
    about = _described(it)
    return "\n".join(
        [
            f"# {it.target}, release {manifest['number']}",
            "",
            *([f"It stands for one partition of the source: {it.partition}."] if it.partition else []),
            (
                f"{about['purpose']} {manifest['rows']:,} rows of {len(it.types)} columns, published "
                f"{manifest['created'][:19]} (UTC), made from data version `{str(source.get('data_version', ''))[:12]}`."
            ),
            "",
            "## Use",
            "",
            f"{about['usage']} {about['limitations']}",
            "",
            *(_filled(manifest) if it.imputed else _measured(manifest)),
            "",
        ]
    )


def _measured(manifest: Mapping[str, Any]) -> list[str]:
    """Of synthetic rows: figures, privacy and limits."""
    figures = [
        (name, _shown(value), _shown(manifest["floor"].get(name)), _shown(_allowed(manifest, name)))
        for name, value in manifest["figures"].items()
        if name not in ATTACKS
    ]
    return [
        "## How near it is to the real rows",
        "",
        (
            "The floor is what fresh real rows score; the policy says how far beyond it a release may be. Not for figures finer "
            "than these errors."
        ),
        "",
        *_table(("figure", "this table", "floor", "policy"), figures),
        "",
        "## Privacy",
        "",
        *_attacked(manifest),
        "No differential privacy is guaranteed. What was kept back before learning:",
        "",
        *_protected(manifest.get("protected") or {}),
        "",
        "## Limits",
        "",
        "Rare patterns are blurred: what fewer rows share than the threshold is not learned. Rules of the source that its",
        "contract does not name hold nearly, not exactly. That missing values are missing at random cannot be shown from data.",
    ]


def _attacked(manifest: Mapping[str, Any]) -> list[str]:
    """The attacks of the audit in its order, each with both ends of its risk."""
    ends = manifest.get("intervals", {})
    rows = [
        (
            name,
            _shown(manifest["figures"][name]),
            _shown(ends[name][1]) if name in ends else "not recorded",
            _shown(_allowed(manifest, name)),
        )
        for name in ATTACKS
        if name in manifest["figures"]
    ]
    if not rows:
        return []
    return [
        "### Attacks",
        "",
        (
            "What an attack gains on training rows beyond unseen ones, 0 to 1: between the two ends with 95 % confidence. The "
            "policy binds the lower end."
        ),
        "",
        *_table(("attack", "at least", "at most", "policy"), rows),
        "",
    ]


def _allowed(manifest: Mapping[str, Any], figure: str) -> Any:
    policy = manifest["settings"].get("policy") or {}
    return policy.get(figure, policy.get(f"{figure}_gap"))


def _filled(manifest: Mapping[str, Any]) -> list[str]:
    """Of filled rows: cells, tests and limits."""
    cells, left = manifest["cells"], manifest["left"]
    tests = (
        (it["column"], f"{it['cells']:,}", _shown(it["error"]), _shown(it["plain_error"]))
        for it in manifest["tests"]
    )
    return [
        "## What was filled",
        "",
        *_table(
            ("column", "cells filled", "still missing"),
            ((name, f"{cells.get(name, 0):,}", f"{left.get(name, 0):,}") for name in {**cells, **left}),
        ),
        "",
        "## How well",
        "",
        "Known cells were hidden and filled. The error is the RMSE over the standard deviation, or the share of wrong categories.",
        "",
        *_table(("column", "hidden cells", "error", "of mean or mode"), tests),
        "",
        "## Limits",
        "",
        "Whether cells are missing because of their own value cannot be shown from data; where they are, what was filled is",
        "biased. Observed cells are as in the source: the table is as confidential as that.",
    ]


def model_card(it: Released) -> str:
    """How the table was made, so that it can be explained and made again."""
    manifest = it.manifest
    facts = {
        "model": "TabDAR (arXiv 2410.21523): any column given any others, a diffusion nested in each number",
        "model fingerprint": manifest["model_fingerprint"],
        "contract": manifest["contract_hash"],
        "seeds": ", ".join(f"{name} {seed}" for name, seed in manifest.get("seeds", {}).items()),
        "settings": ", ".join(f"{name} {value}" for name, value in _flat(manifest["settings"]).items()),
        "libraries": ", ".join(f"{name} {version}" for name, version in manifest["libraries"].items()),
    }
    return "\n".join(
        [
            f"# The model behind {it.target}, release {manifest['number']}",
            "",
            *_table(("fact", "value"), facts.items()),
            "",
            "## Intended use",
            "",
            "To draw rows like those of the table it learned, and to fill missing cells of such rows. Not to predict for, or",
            "decide about, single persons: its conditionals are checked as a whole, not row by row.",
            "",
            *(_decision(manifest["decision"]) if "decision" in manifest else []),
            "## Limits",
            "",
            "The model holds no row of the source. It holds the levels of categories that enough rows share, and quantiles of numbers",
            "averaged over as many. Whoever has the model can draw as many rows as they like, and fill in cells of rows they know:",
            "treat it with the care that the source asks for.",
            "",
        ]
    )


def _decision(decision: Mapping[str, Any]) -> list[str]:
    reasons = decision.get("reasons") or ["every limit of the policy holds"]
    verdict = "accepted" if decision.get("passed") else "refused"
    return [f"## Decision: {verdict}", "", *(f"- {reason}" for reason in reasons), ""]


def logical_type(kind: str) -> str:
    """ODCS's word for a type of DuckDB.

    >>> logical_type("DECIMAL(12,2)"), logical_type("UTINYINT"), logical_type("UUID")
    ('number', 'integer', 'string')
    """
    word = kind.upper().split("(")[0].split()[0]
    if word.endswith(("INT", "INTEGER")):
        return "integer"
    return "date" if word.startswith("TIMESTAMP") else _LOGICAL.get(word, "string")


def _protected(protected: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line a column of which something was kept back."""
    concerned = {name: it for name, it in protected.items() if it.get("cells") or it.get("clipped")}
    return [f"- `{name}`: {_kept_back(it)}" for name, it in concerned.items()] or ["Nothing needed to be."]


def _kept_back(it: Mapping[str, Any]) -> str:
    levels = f"{it['levels']:,} levels in {it['cells']:,} cells not learned" if it.get("cells") else ""
    numbers = f"{it['clipped']:,} extreme numbers clipped" if it.get("clipped") else ""
    return f"{', '.join(filter(None, (levels, numbers)))} (fewer than {it.get('rows', 0)} rows share them)"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        )
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A table of Markdown, whatever its cells hold."""
    cells = ([_cell(it) for it in row] for row in rows)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells)]


def _cell(value: Any) -> str:
    r"""Text within one cell.

    >>> _cell("a|b\nc")
    'a\\|b c'
    """
    return " ".join(str(value).replace("|", "\\|").split())


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "none"


def _dumped(record: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True, width=110))
