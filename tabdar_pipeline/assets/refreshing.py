"""Which way a refresh goes, and its model: as plain functions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from tabdar_pipeline import checkpoint
from tabdar_pipeline.assets import partitioned, served, shelf, steps
from tabdar_pipeline.assets.partitioned import Due
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.served import Served
from tabdar_pipeline.codec.coverage import unspoken
from tabdar_pipeline.errors import ModelDirectoryError, SourceError
from tabdar_pipeline.quality.drift import Drift, drift
from tabdar_pipeline.quality.holdout import split
from tabdar_pipeline.release.refresh import Demand, Refresh, RefreshPolicy, Way, drifted, grown, settle
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.drift import Difference, differences
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.files import read_parquet
from tabdar_pipeline.warehouse.publish import Release, releases
from tabdar_pipeline.warehouse.references import Bound, released

if TYPE_CHECKING:
    from tabdar_pipeline.model.training import EpochRecord
    from tabdar_pipeline.synthesizer import TabDAR

RECORD = "drift"


@dataclass(frozen=True, slots=True)
class Decided:
    """The way of a refresh, and how the schema has changed since the last release."""

    refresh: Refresh
    data_version: str
    differences: tuple[Difference, ...] = ()
    due: tuple[str, ...] = ()  # partitions to be drawn anew
    policy: RefreshPolicy = field(default_factory=RefreshPolicy)  # by which it was decided

    @property
    def stopped(self) -> tuple[Difference, ...]:
        """What a person must decide; a fit from nothing learns the table as it is."""
        return tuple(it for it in self.differences if not it.compatible)


def decide_refresh(
    plan: Plan, warehouse: Warehouse, asked: Way = Way.SKIP, partitions: Sequence[str] = ()
) -> Decided:
    """What the last snapshot demands since the last release, at least the way that a person asked for.

    Where one model serves all `partitions`, what they demand counts too.
    """
    if plan.own_model:
        steps.take_part(plan, warehouse)
    taken, rows, contract = steps.last_snapshot(plan)
    last, now = Served.read(plan.home), _now(warehouse, plan)
    due = partitioned.due(plan, warehouse, partitions) if partitions else Due()
    general = [*_asked(asked), *_general(plan, warehouse, contract)]
    demands = [*general, *_refused(plan)]
    compared = _Compared((), (), None)
    if last is not None and last.data_version != taken.data_version and not _from_nothing(demands):
        compared = _compare(plan, last, rows, contract)
    demands += compared.demands
    if last is not None and not _from_nothing(demands):
        demands += _waiting(plan, last, due, rows, contract)
    otherwise = f"{plan.table} has nothing new since {last.release}" if last is not None else ""
    refresh = settle(plan.refresh, demands, compared.drift, otherwise)
    if refresh.way is not Way.SKIP and last is not None and now is not None:
        refresh = settle(plan.refresh, [*demands, *_mistrusted(last, now)], compared.drift, otherwise)
    anew = () if refresh.way is Way.SKIP else due.every if general or not due.fresh else due.fresh
    decided = Decided(refresh, taken.data_version, compared.differences, anew, plan.refresh)
    if not decided.stopped:
        shelf.put(plan.home, RECORD, decided)
    return decided


def standing(plan: Plan, warehouse: Warehouse, contract: Contract) -> list[Demand]:
    """What is demanded whatever is new in the source: by the release, the settings, and the last verdict."""
    return [*_general(plan, warehouse, contract), *_refused(plan)]


def waiting(plan: Plan, warehouse: Warehouse, partitions: Sequence[str]) -> list[Demand]:
    """What partitions demand that share a model and were not released as the last snapshot has them."""
    last, (_, rows, contract) = Served.read(plan.home), steps.last_snapshot(plan)
    if last is None:
        return []
    return [*_waiting(plan, last, partitioned.due(plan, warehouse, partitions), rows, contract)]


def _general(plan: Plan, warehouse: Warehouse, contract: Contract) -> Iterator[Demand]:
    """What is demanded of all partitions, where there are any."""
    last, now = Served.read(plan.home), _now(warehouse, plan)
    yield from _released(plan, last, now)
    yield from _settings(plan, last, contract)
    yield from _referred(released(warehouse, plan.table, contract.schema.references), now)


def decided_way(plan: Plan) -> Way:
    """The way that was decided for the last snapshot."""
    record, taken = shelf.get(plan.home, RECORD), shelf.get(plan.home, "snapshot")
    if record["data_version"] != taken["data_version"]:
        raise SourceError(
            f"{plan.target!r}: `drift` must be of the last snapshot, however that is newer. "
            "Materialize `drift` first."
        )
    return Way(record["refresh"]["way"])


def learn(plan: Plan, progress: "Callable[[EpochRecord], None]") -> "TabDAR | None":
    """The model for the last snapshot, by the way that was decided; None where nothing is to be done."""
    from tabdar_pipeline.synthesizer import TabDAR

    way = decided_way(plan)
    if way is Way.SKIP:
        return None
    if way is Way.FIT:
        return steps.fit_model(plan, progress)
    last = Served.read(plan.home)
    assert last is not None  # else the way were a fit from nothing
    earlier = TabDAR.load(last.directory(plan))
    if way is Way.WARM:
        return steps.fit_model(_short(plan), progress, earlier)
    _, rows, contract = steps.last_snapshot(plan)
    renewed = earlier.codec.renewed(split(rows, plan.holdout).train, contract.schema)
    earlier.codec = partitioned.keyed(plan, renewed.referring(rows, contract.schema), contract.schema)
    earlier.save(plan.home / steps.MODEL)
    return earlier


def _short(plan: Plan) -> Plan:
    """The plan with the budget of a warm start."""
    fit, share = plan.fit, plan.refresh.budget
    seconds = None if fit.seconds is None else fit.seconds * share
    epochs = None if fit.epochs is None else max(1, round(fit.epochs * share))
    return replace(plan, fit=replace(fit, seconds=seconds, epochs=epochs))


def _from_nothing(demands: list[Demand]) -> bool:
    return any(it.way is Way.FIT for it in demands)


def _asked(way: Way) -> Iterator[Demand]:
    if way is not Way.SKIP:
        yield Demand(way, f"a person asked for it: {way}")


def _now(warehouse: Warehouse, plan: Plan) -> Release | None:
    """The release that is served; of several partitions that share a model, the newest."""
    of_it = [
        it for it in releases(warehouse, plan.target) if plan.part is None or it.partition == plan.part.key
    ]
    return next((it for it in of_it if it.served), None)


def _waiting(plan: Plan, last: Served, due: Due, rows: pa.Table, contract: Contract) -> Iterator[Demand]:
    """What partitions demand that have no release, or none of these rows; more where the model has no word for them."""
    parts, taken = plan.partitions, shelf.get(plan.home, "snapshot")
    if parts is None or not due.fresh:
        return
    codec = checkpoint.describe(last.directory(plan)).codec
    for part in map(parts.part, due.fresh):
        if part.key in due.never:
            yield Demand(Way.SAMPLE, f"partition {part.key!r} was not released yet")
            for fact in unspoken(codec, part.of(rows), contract.schema):
                yield Demand(Way.FIT, f"partition {part.key!r} is new to the model: {fact}")
        elif last.data_version == taken["data_version"]:
            yield Demand(Way.SAMPLE, f"partition {part.key!r} was not released as its rows are now")


def _released(plan: Plan, last: Served | None, now: Release | None) -> Iterator[Demand]:
    if last is None or now is None:
        yield Demand(Way.FIT, f"nothing was released as {plan.target} yet")
        return
    try:
        checkpoint.verify(last.directory(plan))
    except ModelDirectoryError as error:
        yield Demand(Way.FIT, f"the model of {last.release} cannot be used: {error}")


def _referred(bound: Mapping[str, Bound], now: Release | None) -> Iterator[Demand]:
    """Keys of another release than the one that is served would join with nothing."""
    before = {} if now is None else now.manifest.get("references", {})
    for name, it in bound.items():
        if name in before and before[name]["release"] != it.release:
            fact = f"column {name!r} refers to {before[name]['release']}, and {it.release} is served"
            yield Demand(Way.SAMPLE, fact)


def _mistrusted(last: Served, now: Release) -> Iterator[Demand]:
    """A person has gone back to another release: what they left is no beginning."""
    if now.manifest.get("model_fingerprint") != last.model:
        yield Demand(Way.FIT, f"{now.identifier} is served, which another model than the last one made")


def _settings(plan: Plan, last: Served | None, contract: Contract) -> Iterator[Demand]:
    if last is not None:
        for fact in served.changes(last.learning, served.learning(plan, contract)):
            yield Demand(Way.FIT, fact)
        for fact in served.changes(last.drawing, served.drawing(plan)):
            yield Demand(Way.SAMPLE, fact)


@dataclass(frozen=True, slots=True)
class _Compared:
    """How the source differs from what the last release was made of."""

    demands: tuple[Demand, ...]
    differences: tuple[Difference, ...]
    drift: Drift | None


def _compare(plan: Plan, last: Served, rows: pa.Table, contract: Contract) -> _Compared:
    """The schema first, then what the model has no words for, and the drift of what it has."""
    before = Contract.read(plan.home / served.FOLDER / served.CONTRACT)
    changed = differences(before, rows)
    if not all(it.compatible for it in changed):
        return _Compared((), changed, None)
    demands = [*_schema(plan, before, contract, rows)]
    if not demands:
        codec = checkpoint.describe(last.directory(plan)).codec
        demands += [Demand(Way.FIT, fact) for fact in unspoken(codec, rows, contract.schema)]
    if plan.rows is None:
        demands += grown(plan.refresh, last.rows, rows.num_rows)
    path = last.snapshot(plan.home)
    if not path.is_file():
        fact = "the snapshot that the model was fitted on is gone"
        return _Compared((*demands, Demand(Way.FIT, fact)), changed, None)
    figures = drift(read_parquet(path), rows, before.schema, plan.fit.seed)
    return _Compared((*demands, *drifted(plan.refresh, figures)), changed, figures)


def _schema(plan: Plan, before: Contract, now: Contract, rows: pa.Table) -> Iterator[Demand]:
    """Other kinds, another order, rules that no longer hold: the model cannot have them."""
    for column in now.schema.columns:
        was = before.schema[column.name].kind
        if column.kind != was:
            yield Demand(Way.FIT, f"column {column.name!r} is a {column.kind}, was a {was}")
    if before.schema.names != now.schema.names:
        yield Demand(Way.FIT, "the columns stand in another order")
    if plan.contract is None:
        for sentence, count in before.exceptions(rows).items():
            yield Demand(Way.FIT, f"{count:,} rows break what held in every row: {sentence}")


def _refused(plan: Plan) -> Iterator[Demand]:
    """One way further than the last one, where the gate refused what that one gave."""
    if not (plan.home / f"{RECORD}.json").is_file():
        return
    record = shelf.get(plan.home, RECORD)
    for desk in plan.desks():
        if partitioned.refused(desk, record["data_version"]):
            way = Way(record["refresh"]["way"])
            further = list(Way)[min(way.rank + 1, Way.FIT.rank)]
            what = "the last candidate" if desk == plan.root else f"the last candidate of {desk.name}"
            yield Demand(further, f"the gate refused {what}, by the way of {way}")
