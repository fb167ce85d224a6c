"""The record of releases, tabdar.releases: what was published, and what is served."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabdar_pipeline.errors import SourceError, StorageError
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse
from tabdar_pipeline.warehouse.names import Relation, literal, resolved

_TABLE = """
CREATE SCHEMA IF NOT EXISTS tabdar;
CREATE TABLE IF NOT EXISTS tabdar.releases (
    target VARCHAR NOT NULL, number INTEGER NOT NULL, relation VARCHAR NOT NULL,
    created TIMESTAMP NOT NULL, row_count BIGINT NOT NULL, rows_hash VARCHAR NOT NULL,
    served BOOLEAN NOT NULL, manifest VARCHAR NOT NULL, manifest_hash VARCHAR NOT NULL,
    copy VARCHAR, retired TIMESTAMP, PRIMARY KEY (target, number)
);
"""
_COMMENT = "COMMENT ON TABLE tabdar.releases IS 'Releases of synthetic tables, by tabdar_pipeline; times UTC'"
_COLUMNS = (
    "target, number, relation, created, row_count, rows_hash, served, manifest, manifest_hash, copy, retired"
)


@dataclass(frozen=True, slots=True)
class Release:
    """One published release, as the warehouse records it."""

    target: str  # the view that serves
    number: int
    relation: str  # the immutable table
    created: datetime  # UTC
    row_count: int
    rows_hash: str  # SHA-256, whatever the order and the storage of the rows
    served: bool
    manifest: dict[str, Any]
    manifest_hash: str  # SHA-256 of the manifest's text in tabdar.releases
    copy: Path | None  # the parquet file in the folder that was named
    retired: datetime | None = None  # UTC; when its rows were dropped

    @property
    def identifier(self) -> str:
        """For people and lineage: "synthetic.customers r0001"."""
        return f"{self.target} r{self.number:04d}"


def releases(warehouse: Warehouse, target: str | None = None) -> list[Release]:
    """All releases, or those of one target, newest first; none where nothing was ever published."""
    with warehouse.connect(read_only=True) as connection:
        return recorded(connection, target)


def find(warehouse: Warehouse, target: str, number: int | None = None) -> Release:
    """One release: of that number, or the one that is served."""
    return one_of(releases(warehouse, target), target, number)


def rollback(warehouse: Warehouse, target: str, number: int) -> Release:
    """Serve that release again, earlier or later, in one transaction."""

    def serve_again(connection: Connection) -> Release:
        release = one_of(recorded(connection, target), target, number)
        refuse_retired(release)
        serve(connection, release)
        return one_of(recorded(connection, target), target, number)

    return warehouse.transact(serve_again)


def recorded(connection: Connection, target: str | None = None) -> list[Release]:
    """The releases of all targets or of one, newest first, over an open connection."""
    if not _is_there(connection):
        return []
    query = f"SELECT {_COLUMNS} FROM tabdar.releases ORDER BY target, number DESC"
    found = [_release(row) for row in connection.execute(query).fetchall()]
    if target is None:
        return found
    name = resolved(str(Relation.parse(target)), [release.target for release in found])
    return [release for release in found if release.target == name]


def one_of(found: list[Release], target: str, number: int | None) -> Release:
    """The release of that number, or the one that is served."""
    for release in found:
        if release.number == number or (number is None and release.served):
            return release
    numbers = ", ".join(str(release.number) for release in reversed(found)) or "none"
    raise SourceError(
        f"target {target!r} must have {'a served release' if number is None else f'release {number}'}, "
        f"however its releases are: {numbers}. List them: tabdar release list."
    )


def refuse_retired(release: Release) -> None:
    """Raise SourceError where the release's rows are gone."""
    if release.retired:
        raise SourceError(
            f"release {release.identifier!r} must have its rows, however it was retired "
            f"{release.retired:%Y-%m-%d %H:%M} UTC. Choose another: tabdar release list."
        )


def record(connection: Connection, release: Release, manifest: str) -> None:
    """Add the release, and let its target serve it; the table of records is made where it is missing."""
    if not _is_there(connection):
        connection.execute(_TABLE)
        connection.execute(_COMMENT)
    connection.execute(
        f"INSERT INTO tabdar.releases ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, false, ?, ?, ?, NULL)",
        [
            release.target,
            release.number,
            release.relation,
            release.created.replace(tzinfo=None),
            release.row_count,
            release.rows_hash,
            manifest,
            release.manifest_hash,
            None if release.copy is None else str(release.copy),
        ],
    )
    serve(connection, release)


def serve(connection: Connection, release: Release) -> None:
    """Point the view of the target at the release."""
    connection.execute(
        "UPDATE tabdar.releases SET served = (number = ?) WHERE target = ?", [release.number, release.target]
    )
    view, table = Relation.parse(release.target).sql, Relation.parse(release.relation).sql
    connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {table}")
    about = (
        f"{kind(release)}: serves release {release.number}, table {release.relation}. See tabdar.releases."
    )
    connection.execute(f"COMMENT ON VIEW {view} IS {literal(about)}")
    for name in release.manifest.get("companions", ()):
        beside, rows = (Relation.parse(it).beside(name).sql for it in (release.target, release.relation))
        connection.execute(f"CREATE OR REPLACE VIEW {beside} AS SELECT * FROM {rows}")


def kind(release: Release) -> str:
    """What its rows are, for a person: Synthetic or Imputed."""
    return str(release.manifest.get("kind", "synthetic")).capitalize()


def manifest_text(facts: Mapping[str, Any]) -> str:
    """Canonical JSON: the same facts are the same text.

    >>> manifest_text({"b": 1, "a": [2]})
    '{"a":[2],"b":1}'
    """
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def text_hash(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _is_there(connection: Connection) -> bool:
    """Whether releases were ever recorded; refused where another version recorded them otherwise."""
    rows = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = current_database() "
        "AND schema_name = 'tabdar' AND table_name = 'releases' ORDER BY column_index"
    ).fetchall()
    found = ", ".join(name for (name,) in rows)
    if found not in {"", _COLUMNS}:
        raise StorageError(
            f"table 'tabdar.releases' must have the columns {_COLUMNS}, however it has {found}: another "
            "version of tabdar_pipeline made it. Use that version, or rename the table."
        )
    return bool(found)


def _release(row: tuple[Any, ...]) -> Release:
    target, number, relation, created, rows, rows_sha, served, manifest, manifest_sha, copy, retired = row
    return Release(
        target,
        number,
        relation,
        created.replace(tzinfo=UTC),
        rows,
        rows_sha,
        served,
        json.loads(manifest),
        manifest_sha,
        None if copy is None else Path(copy),
        None if retired is None else retired.replace(tzinfo=UTC),
    )
