"""What goes with a release that leaves the building: a data contract, a dbt source, a data card, a model card.

The contract follows the Open Data Contract Standard, version 3.0.2 (bitol.io).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

    target: str  # schema.table of the view that serves
    number: int
    created: str  # UTC, ISO 8601
    rows: int
    rows_hash: str
    types: Mapping[str, str]  # DuckDB's, by column
    comments: Mapping[str, str]
    manifest: Mapping[str, Any]

    @property
    def version(self) -> str:
        """A release is a major version: rows are never changed within one.

        >>> Released("s.t", 3, "", 0, "", {}, {}, {}).version
        '3.0.0'
        """
        return f"{self.number}.0.0"

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
    schema, table = it.target.split(".", 1)
    properties = [
        {
            "name": name,
            "physicalType": kind,
            "logicalType": logical_type(kind),
            **({"description": it.comments[name]} if name in it.comments else {}),
        }
        for name, kind in it.types.items()
    ]
    return {
        "apiVersion": ODCS,
        "kind": "DataContract",
        "id": f"{it.target}:r{it.number:04d}",
        "name": it.target,
        "version": it.version,
        "status": "active",
        "description": {
            "purpose": f"Synthetic rows that stand for {it.manifest['source']['table']}.",
            "usage": "Analysis, development, tests and teaching, where the real rows must not go.",
            "limitations": "No row is a real one: do not use it for decisions about single persons or things.",
        },
        "servers": [{"server": "warehouse", "type": "duckdb", "database": "warehouse", "schema": schema}],
        "schema": [
            {"name": table, "physicalType": "table", "logicalType": "object", "properties": properties}
        ],
        "customProperties": [
            {"property": "rowCount", "value": it.rows},
            {"property": "rowsHash", "value": it.rows_hash},
            {"property": "modelFingerprint", "value": it.manifest["model_fingerprint"]},
            *([{"property": "partition", "value": it.partition}] if it.partition else []),
        ],
    }


def dbt_sources(it: Released) -> dict[str, Any]:
    """The release as a source of a dbt project."""
    schema, table = it.target.split(".", 1)
    columns = [
        {
            "name": name,
            "data_type": kind,
            **({"description": it.comments[name]} if name in it.comments else {}),
        }
        for name, kind in it.types.items()
    ]
    entry = {
        "name": table,
        "description": f"Synthetic rows, release {it.number} of {it.created[:10]}.",
        "columns": columns,
    }
    return {"version": 2, "sources": [{"name": schema, "schema": schema, "tables": [entry]}]}


def data_card(it: Released) -> str:
    """What the table is, for whom, how near to real rows, and what was kept back."""
    source = it.manifest["source"]
    return "\n".join(
        [
            f"# {it.target}, release {it.number}",
            "",
            f"{it.rows:,} synthetic rows of {len(it.types)} columns, published {it.created} (UTC).",
            *([f"It stands for one partition of the source: {it.partition}."] if it.partition else []),
            f"Made from `{source['table']}`, data version `{str(source.get('data_version', ''))[:12]}`. No row is a real one.",
            "",
            "## Use",
            "",
            "For analysis, development, tests and teaching. Not for decisions about single persons or things, nor for figures",
            "finer than the errors below.",
            "",
            "## How near it is to the real rows",
            "",
            "The floor is what fresh real rows score.",
            "",
            "| figure | this table | floor |",
            "|---|---|---|",
            *(
                f"| {name} | {_shown(value)} | {_shown(it.manifest['floor'].get(name))} |"
                for name, value in it.manifest["figures"].items()
            ),
            "",
            "## What was kept back",
            "",
            *_protected(it.manifest.get("protected") or {}),
            "",
            "## Limits",
            "",
            "Rare patterns are blurred: what fewer rows share than the threshold is not learned. Rules of the source that its",
            "contract does not name hold nearly, not exactly. That missing values are missing at random cannot be shown from data.",
            "",
        ]
    )


def model_card(it: Released) -> str:
    """How the table was made, so that it can be explained and made again."""
    manifest = it.manifest
    facts = {
        "model": "TabDAR (arXiv 2410.21523): any column given any others, a diffusion nested in each number",
        "model fingerprint": manifest["model_fingerprint"],
        "contract": manifest["contract_hash"],
        "seeds": ", ".join(f"{name} {seed}" for name, seed in manifest["seeds"].items()),
        "settings": ", ".join(f"{name} {value}" for name, value in _flat(manifest["settings"]).items()),
        "libraries": ", ".join(f"{name} {version}" for name, version in manifest["libraries"].items()),
    }
    decision = manifest["decision"]
    reasons = decision.get("reasons") or ["every limit of the policy holds"]
    return "\n".join(
        [
            f"# The model behind {it.target}, release {it.number}",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
            "",
            f"## Decision: {'accepted' if decision.get('passed') else 'refused'}",
            "",
            *(f"- {reason}" for reason in reasons),
            "",
            "## Limits",
            "",
            "The model holds no row of the source. It holds the levels of categories that enough rows share, and quantiles of numbers",
            "averaged over as many. Whoever has the model can draw as many rows as they like, and fill in cells of rows they know:",
            "treat it with the care that the source asks for.",
            "",
        ]
    )


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
    lines = [
        f"- `{name}`: {it.get('levels', 0):,} levels in {it.get('cells', 0):,} cells not learned, "
        f"{it.get('clipped', 0):,} extreme numbers clipped (fewer than {it.get('rows', 0)} rows share them)"
        for name, it in protected.items()
        if it.get("cells") or it.get("clipped")
    ]
    return lines or ["Nothing needed to be."]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        )
    return found


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "none"


def _dumped(record: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True, width=110))
