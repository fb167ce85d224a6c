"""What changed between two releases: columns, rows, how they were made, their figures, their distributions."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from tabdar_pipeline.quality.fidelity import shape_errors
from tabdar_pipeline.quality.plain import plain
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.warehouse.catalog import carried, types_of
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.releases import Release, one_of, recorded

COMPARED = 50_000  # rows of each release, drawn with a fixed seed
_RECORDED = (  # of the manifest
    *(
        "source",
        "contract_hash",
        "terms",
        "code_version",
        "libraries",
        "model_fingerprint",
        "seeds",
        "settings",
    ),
    *("figures", "floor", "intervals"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that differs; None where one of the two does not have it."""

    fact: str  # "rows", "type of age", "figures.shape_error", "settings.fit.seconds"
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two releases of one target, side by side."""

    before: Release
    after: Release
    differences: tuple[Difference, ...]
    drift: Mapping[str, float]  # percent, by column that both have: KS distance or total variation

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"differences": [asdict(it) for it in self.differences], "drift": dict(self.drift)}


def compare(warehouse: Warehouse, target: str, before: int, after: int) -> Comparison:
    """Compare two releases; one that was retired is compared by its manifest, without drift."""
    with warehouse.connect(read_only=True) as connection:
        found = recorded(connection, target)
        pair = (one_of(found, target, before), one_of(found, target, after))
        types = [_types(connection, it) for it in pair]
        kept = not any(it.retired for it in pair)
        both = {name: kind for name, kind in types[0].items() if types[1].get(name) == kind}
        tables = [_sample(connection, it, both) for it in pair] if kept else []
    facts = [_facts(it, kinds if all(types) else {}) for it, kinds in zip(pair, types, strict=True)]
    return Comparison(*pair, tuple(_differences(*facts)), _drift(tables, target) if kept else {})


def _types(connection: Connection, release: Release) -> dict[str, str]:
    """Of a release whose rows are gone, as its manifest says; none where it is older than that."""
    if release.retired:
        return {it["name"]: it["type"] for it in release.manifest.get("columns", ())}
    return types_of(connection, f"SELECT * FROM {Relation.parse(release.relation).sql}")


def _facts(release: Release, types: Mapping[str, str]) -> dict[str, Any]:
    recorded_facts = {name: release.manifest[name] for name in _RECORDED if name in release.manifest}
    return {
        "rows": release.row_count,
        **{f"type of {name}": kind for name, kind in types.items()},
        **dict(_flat("", recorded_facts)),
    }


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Nested settings by their path: settings.fit.seconds."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}" if path else str(name), inner)
    else:
        yield path, value


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for fact in dict.fromkeys([*before, *after]):
        if before.get(fact) != after.get(fact):
            yield Difference(fact, before.get(fact), after.get(fact))


def _sample(connection: Connection, release: Release, types: Mapping[str, str]) -> pa.Table:
    if not types:
        return pa.table({})
    rows = f"({carried(Relation.parse(release.relation), types)})"
    return connection.sql(
        f"FROM {rows} USING SAMPLE reservoir({COMPARED} ROWS) REPEATABLE (0)"
    ).to_arrow_table()


def _drift(tables: list[pa.Table], target: str) -> dict[str, float]:
    """Errors of the columns that are modelled, the largest first."""
    if min(table.num_rows for table in tables) < 2:
        return {}
    schema = infer_schema(tables[0], target)
    shared = TableSchema(target, schema.modelled)
    errors = shape_errors(*plain([table.select(shared.names) for table in tables], shared))
    return dict(sorted(errors.items(), key=lambda it: -it[1]))
