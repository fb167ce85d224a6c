"""The record of releases, tabdar.releases: what was published, and what is served."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse
from tabdar_pipeline.warehouse.names import Relation, resolved
from tabdar_pipeline.warehouse.record import COLUMNS, make_writable, readable
from tabdar_pipeline.warehouse.views import View, point


@dataclass(frozen=True, slots=True)
class Release:
    """One published release, as the warehouse records it."""

    target: str  # the view that serves
    number: int  # within the target, whatever the partition
    relation: str  # the immutable table
    created: datetime  # UTC
    row_count: int
    rows_hash: str  # SHA-256, whatever the order and the storage of the rows
    served: bool
    manifest: dict[str, Any]
    manifest_hash: str  # SHA-256 of the manifest's text in tabdar.releases
    copy: Path | None  # the parquet file in the folder that was named
    retired: datetime | None = None  # UTC; when its rows were dropped
    partition: str | None = None  # of the source that it stands for; None for all of it

    @property
    def identifier(self) -> str:
        """For people and lineage: "synthetic.customers r0001"."""
        return f"{self.target} r{self.number:04d}"

    @property
    def label(self) -> str:
        """The same with its partition, where it has one: "synthetic.customers r0001 (north)"."""
        return self.identifier if self.partition is None else f"{self.identifier} ({self.partition})"


def releases(warehouse: Warehouse, target: str | None = None) -> list[Release]:
    """All releases, or those of one target, newest first; none where nothing was ever published."""
    with warehouse.connect(read_only=True) as connection:
        return recorded(connection, target)


def find(
    warehouse: Warehouse, target: str, number: int | None = None, partition: str | None = None
) -> Release:
    """One release: of that number, or the one that is served, of a partition where there are several."""
    return one_of(releases(warehouse, target), target, number, partition)


def recorded(connection: Connection, target: str | None = None) -> list[Release]:
    """The releases of all targets or of one, newest first, over an open connection."""
    columns = readable(connection)
    if columns is None:
        return []
    query = f"SELECT {columns} FROM tabdar.releases ORDER BY target, number DESC"
    found = [_release(row) for row in connection.execute(query).fetchall()]
    if target is None:
        return found
    name = resolved(str(Relation.parse(target)), [release.target for release in found])
    return [release for release in found if release.target == name]


def one_of(found: list[Release], target: str, number: int | None, partition: str | None = None) -> Release:
    """The release of that number, or the one that is served; of that partition, where one is named."""
    of_it = [it for it in found if partition in {None, it.partition}]
    chosen = [it for it in of_it if (it.served if number is None else it.number == number)]
    if len(chosen) == 1:
        return chosen[0]
    what = f"target {target!r}" if partition is None else f"target {target!r}, partition {partition!r}:"
    if chosen:
        there = ", ".join(sorted(repr(it.partition) for it in chosen))
        raise SourceError(
            f"{what} must serve one release, or a partition must be named, however it serves the partitions "
            f"{there}. Name one with --partition, or the release's number."
        )
    numbers = ", ".join(str(release.number) for release in reversed(of_it)) or "none"
    raise SourceError(
        f"{what} must have {'a served release' if number is None else f'release {number}'}, "
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
    make_writable(connection)
    connection.execute(
        f"INSERT INTO tabdar.releases ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, false, ?, ?, ?, NULL, ?)",
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
            release.partition,
        ],
    )
    serve(connection, release)


def serve(connection: Connection, release: Release) -> None:
    """Serve the release in the place of the one of its partition, and point the view of the target."""
    make_writable(connection)
    connection.execute(
        "UPDATE tabdar.releases SET served = (number = ?) WHERE target = ? AND partition IS NOT DISTINCT FROM ?",
        [release.number, release.target, release.partition],
    )
    point_at_served(connection, release.target)


def in_order(found: list[Release]) -> list[Release]:
    """By partition, as a view serves them."""
    return sorted(found, key=lambda it: it.partition or "")


def point_at_served(connection: Connection, target: str) -> None:
    """Let the view of the target, and those of its companions, serve what the record says."""
    for view in served_views([it for it in recorded(connection, target) if it.served]):
        point(connection, view)


def served_views(served: list[Release]) -> list[View]:
    """The view of a target that serves these releases, and those of their companions; none where none is served."""
    if not served:
        return []
    serving = in_order(served)
    target = Relation.parse(serving[0].target)
    about = f"{kind(serving[0])}: {_served(serving)}. See tabdar.releases."
    views = [View(target, tuple(Relation.parse(it.relation) for it in serving), about)]
    for name in dict.fromkeys(name for it in serving for name in companions(it)):
        beside = (Relation.parse(it.relation).beside(name) for it in serving if name in companions(it))
        views.append(View(target.beside(name), tuple(beside), f"Beside {target}. {about}"))
    return views


def companions(release: Release) -> tuple[str, ...]:
    """The names of the tables that were published with it."""
    return tuple(release.manifest.get("companions", ()))


def tables_of(release: Release) -> list[Relation]:
    """Its immutable table, and its companions."""
    table = Relation.parse(release.relation)
    return [table, *(table.beside(name) for name in companions(release))]


def _served(serving: list[Release]) -> str:
    if len(serving) == 1 and serving[0].partition is None:
        return f"serves release {serving[0].number}, table {serving[0].relation}"
    return "serves releases " + ", ".join(f"{it.number} ({it.partition})" for it in serving)


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


def _release(row: tuple[Any, ...]) -> Release:
    target, number, relation, created, rows, rows_sha, served, manifest, manifest_sha, copy, retired, part = (
        row
    )
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
        part,
    )
