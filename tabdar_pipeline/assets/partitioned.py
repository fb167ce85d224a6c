"""What partitions change on the way of a table: which rows are judged, where keys lie, which of them are due."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabdar_pipeline import __version__
from tabdar_pipeline.assets import shelf
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.codec.table import TableCodec
from tabdar_pipeline.conditions import Conditions, resolve
from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.predicates import of_part
from tabdar_pipeline.quality.holdout import split
from tabdar_pipeline.runtime import FREE, OnnxSampler
from tabdar_pipeline.sampling.draws import START, Place
from tabdar_pipeline.schemas.columns import Kind
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.partitions import Partitioning
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type
from tabdar_pipeline.warehouse.clashes import first_clash
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.files import read_parquet
from tabdar_pipeline.warehouse.names import did_you_mean, identifier
from tabdar_pipeline.warehouse.publish import Partition, Release, releases
from tabdar_pipeline.warehouse.releases import recorded
from tabdar_pipeline.warehouse.snapshot import Snapshot, carve, version_of

LEAST = 20  # held-out rows of a partition: fewer cannot tell a leak from chance
_BLOCKS = 2**32  # of noise that each partition has to itself
_KEYS = "keys to publish"  # a view of one connection only


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows of a candidate, and where they lie in the endless table of the seed."""

    rows: int
    place: Place


@dataclass(frozen=True, slots=True)
class Beside:
    """Real rows that a candidate is compared with."""

    train: pa.Table
    holdout: pa.Table
    learned: pa.Table | None = None  # all that the model learned, where `train` is a part of it


@dataclass(frozen=True, slots=True)
class Due:
    """Partitions that a refresh may release: none that a person withdrew, or that has too few rows."""

    every: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()  # never released, refused, or of other rows or settings than what is served
    never: tuple[str, ...] = ()  # never released


def whole(plan: Plan) -> tuple[Snapshot, pa.Table]:
    """The last snapshot of the whole source, whatever the partition."""
    taken = shelf.snapshot(plan.root)
    return taken, read_parquet(taken.path, [*taken.sql_types])


def take_part(plan: Plan) -> Snapshot:
    """The rows of a partition as a snapshot of its own, for a model of its own."""
    assert plan.part is not None
    taken, rows = whole(plan)
    _refuse_scant(plan, rows)
    return carve(taken, plan.part.of(rows), plan.home / "snapshots")


def refuse_unfit(it: Partitioning, name: str, rows: pa.Table, schema: TableSchema) -> None:
    """Raise SourceError where a table cannot be parted so: before anything is learned."""
    what = f"table {name!r}, column {it.column!r}"
    if it.column not in schema.names:
        raise SourceError(
            f"{what}: the column of the partitions must be there and be released, however it is not. "
            f"{did_you_mean(it.column, schema.names)}"
        )
    column = schema[it.column]
    if not column.modelled:
        raise SourceError(
            f"{what}: the column of the partitions must be modelled, however it is a {column.kind}. Choose another "
            "column, or declare its kind in a contract."
        )
    if nulls := rows[it.column].null_count:
        raise SourceError(
            f"{what}: each row must be in a partition, however {nulls:,} rows are NULL. Fill them, or leave them "
            f"out: `where: {identifier(it.column)} IS NOT NULL`."
        )
    _refuse_other_type(it, what, rows)
    have = _counts(it, what, rows)
    if missing := [value for value in it.values if value not in have]:
        some = sorted(str(value) for value in rows[it.column].unique().to_pylist()[:1000])
        raise SourceError(
            f"{what}: each partition must have rows, however {', '.join(map(repr, missing))} has none. "
            f"{did_you_mean(missing[0], some)}"
        )
    if not have:
        raise SourceError(
            f"{what}: a partition must have rows, however no row lies at or after {it.start}. Correct `start`."
        )


def counts(plan: Plan) -> dict[str, int]:
    """How many rows of the last snapshot each partition has."""
    assert plan.partitions is not None
    return plan.partitions.counts(whole(plan)[1])


def releasable(plan: Plan, rows: pa.Table, keys: Sequence[str]) -> list[str]:
    """Those of the partitions that have rows enough to be judged by."""
    assert plan.partitions is not None
    held = plan.partitions.counts(split(rows, plan.holdout).holdout)
    return [key for key in keys if held.get(key, 0) >= LEAST]


def beside(plan: Plan, rows: pa.Table) -> Beside:
    """What a candidate is compared with: rows of its partition, each on the side on which the model had it."""
    parts = split(rows, plan.holdout)
    if plan.part is None or plan.own_model:
        return Beside(parts.train, parts.holdout)
    return Beside(plan.part.of(parts.train), plan.part.of(parts.holdout), parts.train)


def predicted(plan: Plan) -> str | None:
    """The column whose prediction measures utility; within a partition its own column says nothing."""
    own = plan.part is not None and plan.part.column == plan.predict
    return None if own else plan.predict


def conditions(plan: Plan, sampler: OnnxSampler) -> Conditions:
    """What the rows of a candidate satisfy; none where the model knows nothing else."""
    if plan.part is None or plan.own_model:
        return FREE
    return resolve(sampler.codec, sampler.schema, of_part(plan.part))


def stretch(plan: Plan, warehouse: Warehouse, sampler: OnnxSampler, rows: int) -> Stretch:
    """How many rows are drawn, and where: no two partitions share a stretch, nor a key with what is served."""
    if plan.part is None or plan.partitions is None:
        return Stretch(plan.rows or rows, START)
    source = whole(plan)[1]
    _refuse_scant(plan, source)
    have = plan.partitions.counts(source)
    share = 1.0 if plan.rows is None else plan.rows / sum(have.values())
    wanted = {key: max(1, round(share * many)) for key, many in have.items()}
    keys = list(wanted)
    before = sum(wanted[key] for key in keys[: keys.index(plan.part.key)])
    block = (plan.partitions.place(plan.part.key) + 1) * _BLOCKS
    lap, rows = 0, wanted[plan.part.key]
    while True:
        place = Place(before + lap * sum(wanted.values()), block)
        sampler.codec.refuse_too_many(place.row + rows, sampler.schema)
        if not _clash(plan, warehouse, sampler, Stretch(rows, place)):
            return Stretch(rows, place)
        lap += 1


def due(plan: Plan, warehouse: Warehouse, keys: Sequence[str]) -> Due:
    """The partitions that can be released, and those of them of which there is something new."""
    taken, rows = whole(plan)
    published = releases(warehouse, plan.target)
    ever = {it.partition for it in published}
    served = {it.partition: it for it in published if it.served}
    every = [it for it in releasable(plan, rows, keys) if it in served or it not in ever]
    never = [it for it in every if it not in ever]
    fresh = [it for it in every if it in never or _is_new(plan.of(it), served[it], taken, rows)]
    return Due(tuple(every), tuple(fresh), tuple(never))


def version(plan: Plan, taken: Snapshot, rows: pa.Table) -> str:
    """The data version of a partition's rows, of a snapshot of the whole source."""
    assert plan.part is not None
    return version_of(plan.part.of(rows), taken.sql_types)


def facts(plan: Plan, taken: Snapshot, rows: pa.Table, place: Place) -> dict[str, Any]:
    """For the manifest: all that it takes to draw the partition again, and to see whether its rows are new.

    `taken` and `rows`: what its model learned from.
    """
    assert plan.part is not None
    of_part = taken.data_version if plan.own_model else version(plan, taken, rows)
    return {
        "part": asdict(plan.part),
        "models": "each" if plan.own_model else "one",
        "place": asdict(place),
        "rows_version": of_part,
    }


def published_as(plan: Plan, schema: TableSchema) -> Partition | None:
    """The partition of a release, and the keys that no other may have."""
    if plan.part is None or plan.partitions is None:
        return None
    keys = tuple(column.name for column in schema.columns if column.kind is Kind.KEY)
    return Partition(plan.part.key, plan.partitions.by, keys)


def keyed(plan: Plan, codec: TableCodec, schema: TableSchema) -> TableCodec:
    """The codec of a partition's own model, with keys that are real ones of no partition."""
    return codec.keyed(whole(plan)[1], schema) if plan.own_model else codec


def refused(desk: Path, data_version: str) -> bool:
    """Whether the gate refused the last candidate of these rows."""
    if not (desk / "judged.json").is_file():
        return False
    judged = shelf.get(desk, "judged")
    return judged["data_version"] == data_version and not judged["decision"]["passed"]


def _is_new(plan: Plan, served: Release, taken: Snapshot, rows: pa.Table) -> bool:
    now = version(plan, taken, rows)
    data_version = now if plan.own_model else taken.data_version
    return (
        served.manifest["partition"].get("rows_version") != now
        or _drawn_by(served.manifest["settings"]) != _drawn_by(json.loads(json.dumps(plan.settings())))
        or served.manifest["code_version"] != __version__
        or (
            plan.contract is not None
            and served.manifest["contract_hash"] != Contract.read(plan.contract).released.hash
        )
        or refused(plan.desk, data_version)
    )


def _drawn_by(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that rows depend on."""
    return {name: it for name, it in settings.items() if name != "refresh"}


def _clash(plan: Plan, warehouse: Warehouse, sampler: OnnxSampler, it: Stretch) -> bool:
    """Whether another partition that is served has a key of this stretch."""
    assert plan.part is not None
    columns = [column for column in sampler.schema.columns if column.kind is Kind.KEY]
    if not columns:
        return False
    keys = {
        c.name: sampler.codec.made[c.name].generate(
            it.place.row, it.rows, plan.sample_seed, arrow_type(c.arrow_type)
        )
        for c in columns
    }
    with warehouse.connect(read_only=True) as connection:
        connection.register(_KEYS, pa.table(keys))
        query = f"SELECT * FROM {identifier(_KEYS)}"
        others = [
            it for it in recorded(connection, plan.target) if it.served and it.partition != plan.part.key
        ]
        return first_clash(connection, query, list(keys), others) is not None


def _refuse_scant(plan: Plan, rows: pa.Table) -> None:
    """Raise SourceError where a partition has too few rows to be judged by."""
    assert plan.part is not None
    if releasable(plan, rows, [plan.part.key]):
        return
    mine = plan.part.of(rows).num_rows
    raise SourceError(
        f"table {plan.table!r}, partition {plan.part.key!r} of {plan.part.column!r}: there must be {LEAST} held-out "
        f"rows to judge it by, however it has {mine:,} rows in all. Leave it out of `partitions`, take longer windows, "
        "or raise `train.holdout`."
    )


def _refuse_other_type(it: Partitioning, what: str, rows: pa.Table) -> None:
    kind = rows.schema.field(it.column).type
    if it.every is not None and not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        raise SourceError(
            f"{what}: windows of time need dates or timestamps, however it is {kind}. List `values`, or cast it in a view."
        )


def _counts(it: Partitioning, what: str, rows: pa.Table) -> dict[str, int]:
    try:
        return it.counts(rows)
    except (pa.ArrowException, ValueError) as error:
        kind = rows.schema.field(it.column).type
        raise SourceError(
            f"{what}: the values of partitions must be of its type, {kind}, however: {error}. Correct `values`."
        ) from error
