"""Releases in the warehouse: immutable tables, one view that is served, one table of records.

    <target>.<table>__r0001    the rows of a release, of the source's types
    <target>.<table>           a view of the release that is served
    tabdar.releases            one row a release, with its manifest

All of it changes in one transaction. The warehouse is the truth: the copy in a folder is staged
before the transaction and renamed after it; where a crash comes between, the next publication
renames it.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from tabdar_pipeline.errors import SourceError, StorageError
from tabdar_pipeline.warehouse.duckdb import Warehouse, rows_hash
from tabdar_pipeline.warehouse.names import Relation, identifier, literal

_RELEASES = """
CREATE SCHEMA IF NOT EXISTS tabdar;
CREATE TABLE IF NOT EXISTS tabdar.releases (
    target VARCHAR NOT NULL, number INTEGER NOT NULL, relation VARCHAR NOT NULL,
    created TIMESTAMP WITH TIME ZONE NOT NULL, row_count BIGINT NOT NULL,
    rows_hash VARCHAR NOT NULL, served BOOLEAN NOT NULL, manifest VARCHAR NOT NULL,
    PRIMARY KEY (target, number)
);
"""


@dataclass(frozen=True, slots=True)
class Release:
    """One published release, as the warehouse records it."""

    target: str
    number: int
    relation: str
    created: datetime
    row_count: int
    rows_hash: str
    served: bool
    manifest: dict[str, Any]

    @property
    def identifier(self) -> str:
        """For people and lineage: "synthetic.customers r0001"."""
        return f"{self.target} r{self.number:04d}"


def publish(
    warehouse: Warehouse,
    target: str,
    rows: Path,
    sql_types: Mapping[str, str],
    manifest: Mapping[str, Any],
    folder: Path | None = None,
) -> Release:
    """Publish a parquet file as the next release of `target`; whole, or not at all."""
    relation = Relation.parse(target)
    with warehouse.connect() as connection:
        connection.execute(_RELEASES)
        if folder is not None:
            _finish_renames(connection, target, folder)
        connection.execute("BEGIN")
        try:
            release = _publish(connection, relation, rows, sql_types, manifest)
            staged = _stage(release, rows, folder) if folder is not None else None
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        if staged is not None:
            staged.rename(_final(staged))
    return release


def _publish(
    connection: duckdb.DuckDBPyConnection, target: Relation, rows: Path,
    sql_types: Mapping[str, str], manifest: Mapping[str, Any],
) -> Release:
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(target.schema)}")
    _refuse_foreign_table(connection, target)
    number = _scalar(connection, "SELECT coalesce(max(number), 0) + 1 FROM tabdar.releases WHERE target = ?", str(target))
    table = target.release(number)
    columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in sql_types.items())
    connection.execute(f"CREATE TABLE {table.sql} ({columns})")
    casts = ", ".join(f"CAST({identifier(name)} AS {kind})" for name, kind in sql_types.items())
    connection.execute(f"INSERT INTO {table.sql} SELECT {casts} FROM read_parquet(?)", [str(rows)])  # noqa: S608
    _refuse_other_types(connection, table, sql_types)
    count = _scalar(connection, f"SELECT count(*) FROM {table.sql}")  # noqa: S608
    hashed = rows_hash(connection, f"SELECT * FROM {table.sql}")  # noqa: S608
    created = datetime.now(UTC)
    facts = {
        **manifest, "target": str(target), "number": number, "relation": str(table),
        "created": created.isoformat(), "rows": count, "rows_hash": hashed,
    }
    _comment(connection, table, facts)
    connection.execute("UPDATE tabdar.releases SET served = false WHERE target = ?", [str(target)])
    connection.execute(
        "INSERT INTO tabdar.releases VALUES (?, ?, ?, ?, ?, ?, true, ?)",
        [str(target), number, str(table), created, count, hashed, json.dumps(facts, sort_keys=True)],
    )
    _serve(connection, target, table)
    return Release(str(target), number, str(table), created, count, hashed, True, facts)


def releases(warehouse: Warehouse, target: str | None = None) -> list[Release]:
    """All releases, newest first; none where nothing was ever published."""
    with warehouse.connect(read_only=True) as connection:
        return _releases(connection, target)


def find(warehouse: Warehouse, target: str, number: int | None = None) -> Release:
    """One release: of that number, or the one that is served."""
    found = releases(warehouse, target)
    for release in found:
        if release.number == number or (number is None and release.served):
            return release
    numbers = ", ".join(str(release.number) for release in found) or "none"
    raise SourceError(
        f"target {target!r} must have release {number or 'served'}, however there are: {numbers}. "
        "List them: tabdar release list."
    )


def rollback(warehouse: Warehouse, target: str, number: int) -> Release:
    """Serve an earlier release again, in one transaction."""
    release = find(warehouse, target, number)
    with warehouse.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE tabdar.releases SET served = (number = ?) WHERE target = ?", [number, target])
        _serve(connection, Relation.parse(target), Relation.parse(release.relation))
        connection.execute("COMMIT")
    return find(warehouse, target, number)


def verify(warehouse: Warehouse, target: str, number: int | None = None) -> bool:
    """Whether a release's rows are those that were published."""
    release = find(warehouse, target, number)
    with warehouse.connect(read_only=True) as connection:
        query = f"SELECT * FROM {Relation.parse(release.relation).sql}"  # noqa: S608
        return rows_hash(connection, query) == release.rows_hash


def _releases(connection: duckdb.DuckDBPyConnection, target: str | None) -> list[Release]:
    exists = _scalar(
        connection,
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'tabdar' AND table_name = 'releases'",
    )
    if not exists:
        return []
    rows = connection.execute(
        "SELECT target, number, relation, CAST(created AS VARCHAR), row_count, rows_hash, served, manifest "
        "FROM tabdar.releases WHERE ? IS NULL OR target = ? ORDER BY target, number DESC",
        [target, target],
    ).fetchall()
    return [Release(*r[:3], datetime.fromisoformat(_iso(r[3])), *r[4:7], json.loads(r[7])) for r in rows]


def _iso(text: str) -> str:
    """DuckDB writes an offset of whole hours as +00."""
    return text if text[-3] != "+" else f"{text}:00"


def _refuse_foreign_table(connection: duckdb.DuckDBPyConnection, target: Relation) -> None:
    kind = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
        [target.schema, target.name],
    ).fetchall()
    if kind and kind[0][0] != "VIEW":
        raise SourceError(
            f"target {str(target)!r} must be free for a view, however a table of that name is there. "
            "Choose another target schema."
        )


def _refuse_other_types(
    connection: duckdb.DuckDBPyConnection, table: Relation, sql_types: Mapping[str, str]
) -> None:
    made = {row[0]: row[1] for row in connection.execute(f"DESCRIBE {table.sql}").fetchall()}
    if made != dict(sql_types):
        differing = {k: (v, made.get(k)) for k, v in sql_types.items() if made.get(k) != v}
        raise StorageError(f"release {str(table)!r} must have the source's types, however: {differing}.")


def _serve(connection: duckdb.DuckDBPyConnection, target: Relation, table: Relation) -> None:
    connection.execute(f"CREATE OR REPLACE VIEW {target.sql} AS SELECT * FROM {table.sql}")  # noqa: S608


def _comment(connection: duckdb.DuckDBPyConnection, table: Relation, facts: Mapping[str, Any]) -> None:
    text = (
        f"Synthetic. Made by tabdar_pipeline {facts.get('code_version', '')} from "
        f"{facts.get('source', {}).get('table', 'a table')}; no row is a real one. "
        "Manifest: tabdar.releases."
    )
    connection.execute(f"COMMENT ON TABLE {table.sql} IS {literal(text)}")


def _scalar(connection: duckdb.DuckDBPyConnection, query: str, *values: Any) -> Any:
    return connection.execute(query, list(values)).fetchall()[0][0]


def _stage(release: Release, rows: Path, folder: Path) -> Path:
    staged = folder / Relation.parse(release.target).folder / f".r{release.number:04d}"
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        shutil.copyfile(rows, staged / "data.parquet")
        (staged / "manifest.json").write_text(json.dumps(release.manifest, indent=1, sort_keys=True))
    except OSError as error:
        raise StorageError(
            f"the release must be copied to {str(folder)!r}, however: {error.strerror or error}. "
            "Free space or choose another folder; nothing was published."
        ) from error
    return staged


def _final(staged: Path) -> Path:
    return staged.with_name(staged.name.removeprefix("."))


def _finish_renames(connection: duckdb.DuckDBPyConnection, target: str, folder: Path) -> None:
    """Copies of releases that were published but not renamed; others were not published."""
    published = {f".r{release.number:04d}" for release in _releases(connection, target)}
    for staged in (folder / Relation.parse(target).folder).glob(".r*"):
        if staged.name in published:
            staged.rename(_final(staged))
        else:
            shutil.rmtree(staged)
