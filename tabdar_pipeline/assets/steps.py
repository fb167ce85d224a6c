"""The steps of one table, from source to release, as plain functions: Dagster only calls them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tabdar_pipeline import checkpoint
from tabdar_pipeline.assets import leftovers, models, partitioned, retiring, served, shelf
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.errors import ReleaseRefused, SourceError, Violation
from tabdar_pipeline.fitting import FitSettings
from tabdar_pipeline.quality.audit import Audit
from tabdar_pipeline.quality.figures import Figures, evaluate
from tabdar_pipeline.quality.holdout import split
from tabdar_pipeline.release.decision import Decision, decide
from tabdar_pipeline.release.manifest import Manifest, library_versions
from tabdar_pipeline.release.terms import terms
from tabdar_pipeline.sampling.draws import Place
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.suite import SuiteResult, run_suite
from tabdar_pipeline.warehouse.catalog import describe
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.files import read_parquet
from tabdar_pipeline.warehouse.publish import Release, publish, refuse_unservable
from tabdar_pipeline.warehouse.references import Bound, bind, referable, released
from tabdar_pipeline.warehouse.snapshot import Snapshot, snapshot

if TYPE_CHECKING:
    from tabdar_pipeline.model.onnx import ExportRecord
    from tabdar_pipeline.model.training import EpochRecord
    from tabdar_pipeline.synthesizer import TabDAR

_COMPARED = 2  # rows on each side: a nearest neighbour is another row
MODEL, TRAINING, CANDIDATE = "model", "training", "candidate.parquet"
CONTRACT, REPORT = "contract.yaml", "report.html"


@dataclass(frozen=True, slots=True)
class Checked:
    """A snapshot and what it breaks."""

    snapshot: Snapshot
    contract: Contract
    violations: tuple[Violation, ...]
    exceptions: dict[str, int]  # rows that break a constraint, by its sentence
    inferred: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate's figures and what was decided."""

    figures: Figures
    suite: SuiteResult
    decision: Decision
    report: Path
    train: pa.Table  # what it was compared with
    candidate: pa.Table
    contract: Contract


def take_snapshot(plan: Plan, warehouse: Warehouse) -> Checked:
    """Read the source once, and hold it against its contract; what could not be published is refused first.

    A publication that was cut off is finished.
    """
    by = None if plan.partitions is None else plan.partitions.by
    refuse_unservable(warehouse, plan.target, by)
    if plan.folder is not None:
        leftovers.settle_copies(warehouse, plan.folder)
    taken = snapshot(warehouse, plan.table, plan.home / "snapshots", plan.selection)
    table = read_parquet(taken.path)
    inferred = plan.contract is None
    contract = (
        _inferred(plan, taken, table, warehouse) if plan.contract is None else Contract.read(plan.contract)
    )
    violations = contract.validate(table)
    if not violations:
        if plan.partitions is not None:
            partitioned.refuse_unfit(plan.partitions, plan.table, table, contract.released.schema)
        _accept(plan, taken, contract)
    exceptions = {} if violations else contract.exceptions(table)
    return Checked(taken, contract, violations, exceptions, inferred)


def take_part(plan: Plan, warehouse: Warehouse) -> None:
    """Give a partition with a model of its own a snapshot and a contract of its own; the whole was held against its."""
    taken = partitioned.take_part(plan)
    table = read_parquet(taken.path)
    declared = None if plan.contract is None else Contract.read(plan.contract)
    _accept(plan, taken, declared or _inferred(plan, taken, table, warehouse))


def _accept(plan: Plan, taken: Snapshot, contract: Contract) -> None:
    """What a snapshot satisfies becomes what is learned."""
    learned = contract.released
    types = {name: kind for name, kind in taken.sql_types.items() if name in learned.schema.names}
    shelf.write_text(plan.home / CONTRACT, learned.to_yaml())
    shelf.put(plan.home, "snapshot", replace(taken, sql_types=types))
    for old in leftovers.unnamed_snapshots(plan.home):
        old.unlink()


def fit_model(
    plan: Plan, progress: "Callable[[EpochRecord], None]", warm: "TabDAR | None" = None
) -> "TabDAR":
    """Train on all but the holdout; a run that was cut off goes on where it stopped."""
    from tabdar_pipeline.synthesizer import TabDAR

    taken, rows, contract = last_snapshot(plan)
    model = TabDAR.fit(
        _learned(plan, rows),
        name=plan.table,
        schema=contract.schema,
        constraints=contract.constraints,
        settings=plan.fit,
        progress=progress,
        resume=plan.home / TRAINING,
        warm=warm,
        alone=[] if plan.partitions is None else [plan.partitions.column],
    )
    model.codec = partitioned.keyed(plan, model.codec.referring(rows, contract.schema), contract.schema)
    model.settings["data_version"] = taken.data_version
    model.save(plan.home / MODEL)
    return model


def _learned(plan: Plan, rows: pa.Table) -> pa.Table:
    """The rows to learn from; raises SourceError where a release could not be compared with anything."""
    parts = split(rows, plan.holdout)
    if min(parts.train.num_rows, parts.holdout.num_rows) < _COMPARED:
        raise SourceError(
            f"table {plan.table!r} must have at least {_COMPARED} rows to learn from and as many held out to judge a release "
            f"by, however of its {rows.num_rows} rows {parts.holdout.num_rows} are held out. Wait until the table has more, or "
            "set `train.holdout` to 0.5."
        )
    return parts.train


def export_model(plan: Plan) -> "ExportRecord":
    """Write the ONNX graphs beside the weights; raises ParityError."""
    from tabdar_pipeline.synthesizer import TabDAR

    return TabDAR.load(plan.home / MODEL).export()


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows of a candidate, and how many of them were drawn again because they broke a constraint."""

    rows: int
    redrawn: int
    references: dict[str, Bound]  # what its foreign keys refer to
    place: Place  # where its rows lie in the endless table of its seed


def draw_candidate(plan: Plan, warehouse: Warehouse, progress: Callable[[int, int], None]) -> Drawn:
    """Sample through onnxruntime into a parquet file; block by block, never the whole table."""
    from tabdar_pipeline import runtime

    taken, _, contract = last_snapshot(plan)
    bound = released(warehouse, plan.table, contract.schema.references)
    sampler = runtime.OnnxSampler.load(plan.home / MODEL, threads=plan.fit.threads)
    stretch = partitioned.stretch(plan, warehouse, sampler, taken.rows)
    conditions = partitioned.conditions(plan, sampler)
    with shelf.written(plan.desk / CANDIDATE) as partial:
        sampler.write_rows(
            partial,
            stretch.rows,
            seed=plan.sample_seed,
            conditions=conditions,
            place=stretch.place,
            progress=progress,
        )
        bind(warehouse, partial, bound, stretch.place.seed(plan.sample_seed))
    drawn = Drawn(stretch.rows, sampler.engine.watch.counts.get("redrawn", 0), bound, stretch.place)
    shelf.put(plan.desk, "drawn", drawn)
    return drawn


def judge_candidate(plan: Plan, progress: Callable[[str, float], None]) -> Judged:
    """Figures beside their floor, the suite, the decision, and the report that shows them."""
    from tabdar_pipeline import runtime
    from tabdar_pipeline.quality import report
    from tabdar_pipeline.synthesizer import TabDAR

    taken, rows, contract = last_snapshot(plan)
    candidate, parts = read_parquet(plan.desk / CANDIDATE), partitioned.beside(plan, rows)
    figures = evaluate(
        parts.train,
        parts.holdout,
        candidate,
        contract.schema,
        target=partitioned.predicted(plan),
        seed=plan.sample_seed,
        progress=progress,
        learned=parts.learned,
        losses=runtime.OnnxSampler.load(plan.home / MODEL, threads=plan.fit.threads).losses,
    )
    limits = plan.policy.limits(figures)
    model = TabDAR.load(plan.home / MODEL)
    enforced = replace(contract, constraints=model.codec.rules.constraints)
    suite = run_suite(candidate, enforced, limits, figures.values, rows)
    decision = decide(figures, limits, suite)
    page = report.html(
        figures,
        parts.train,
        candidate,
        contract.schema,
        title=f"{plan.table} → {plan.target}{'' if plan.part is None else f', {plan.part.key}'}",
        decision=decision,
        history=model.history,
        protected=model.codec.to_json()["protected"],
        facts=_facts(plan, taken, contract, model),
    )
    shelf.write_text(plan.desk / REPORT, page)
    judged = Judged(figures, suite, decision, plan.desk / REPORT, parts.train, candidate, contract)
    kept = _Kept(
        figures.to_json(),
        suite.to_json(),
        decision.to_json(),
        checkpoint.file_hash(plan.desk / CANDIDATE),
        taken.data_version,
        model.fingerprint,
    )
    shelf.put(plan.desk, "judged", kept)
    return judged


def publish_release(plan: Plan, warehouse: Warehouse) -> Release:
    """Publish the accepted candidate; one that was refused, or judged for other rows, never is."""
    taken, rows, contract = last_snapshot(plan)
    judged, drawn = shelf.get(plan.desk, "judged"), shelf.get(plan.desk, "drawn")
    model = checkpoint.describe(plan.home / MODEL)
    _refuse_unjudged(plan, judged, taken, model.fingerprint)
    libraries, attacks = library_versions(), judged["figures"].get("audit")
    manifest = Manifest(
        source=source_record(plan, taken),
        contract_hash=contract.hash,
        schema_fingerprint=contract.schema.fingerprint,
        code_version=libraries["tabdar-pipeline"],
        libraries=libraries,
        model_fingerprint=judged["model"],
        seeds={"fit": plan.fit.seed, "sample": plan.sample_seed, "evaluate": plan.sample_seed},
        settings=plan.settings(),
        figures=judged["figures"]["values"],
        floor=judged["figures"]["floor"],
        decision=judged["decision"],
        protected=model.codec.to_json()["protected"],
        refresh=shelf.get(plan.home, "drift")["refresh"] | served.beginnings(model),
        references=drawn["references"],
        intervals={} if attacks is None else Audit.from_json(attacks).intervals,
        terms=terms(contract, plan.desk / CANDIDATE),
        partition={} if plan.part is None else partitioned.facts(plan, taken, rows, Place(**drawn["place"])),
    )
    comments = describe(warehouse, plan.table).comments
    models.keep(plan.storage, plan.target, plan.home / MODEL, judged["model"])
    release = publish(
        warehouse,
        plan.target,
        plan.desk / CANDIDATE,
        taken.sql_types,
        manifest.to_json(),
        plan.folder,
        {name: text for name, text in comments.items() if name in taken.sql_types},
        partition=partitioned.published_as(plan, contract.schema),
    )
    served.keep(plan, plan.home / MODEL, plan.home / CONTRACT, taken, release.identifier)
    return release


def _refuse_unjudged(plan: Plan, judged: dict[str, Any], taken: Snapshot, model: str) -> None:
    """Raise ReleaseRefused where the candidate was refused, or is not the one that was judged."""
    if not judged["decision"]["passed"]:
        raise ReleaseRefused(plan.target, tuple(judged["decision"]["reasons"]))
    now = (checkpoint.file_hash(plan.desk / CANDIDATE), taken.data_version, model)
    if now != (judged["candidate"], judged["data_version"], judged["model"]):
        raise ReleaseRefused(
            plan.target,
            (
                "snapshot, model or candidate are newer than their report: materialize candidate and report again",
            ),
        )


def retire_old(plan: Plan, warehouse: Warehouse) -> list[str]:
    """Retire what the plan does not keep, and what runs that were cut off left; the releases whose rows went."""
    leftovers.remove([*leftovers.in_partitions(plan), *leftovers.in_home(plan.root)])
    if plan.keep is None:
        return []
    return [
        release.identifier for release in retiring.retain(warehouse, plan.target, plan.keep, plan.storage)
    ]


@dataclass(frozen=True, slots=True)
class _Kept:
    figures: dict[str, Any]
    suite: dict[str, Any]
    decision: dict[str, Any]
    candidate: str  # SHA-256 of the file that was judged
    data_version: str
    model: str


def source_record(plan: Plan, taken: Snapshot) -> dict[str, Any]:
    """Where a release's rows come from, for its manifest."""
    return {
        "database": plan.database.name,
        "table": plan.table,
        "rows": taken.rows,
        "data_version": taken.data_version,
        "selection": asdict(plan.selection),
    }


def last_snapshot(plan: Plan) -> tuple[Snapshot, pa.Table, Contract]:
    """The snapshot that was taken last, its rows and the contract they satisfy, without what is left out."""
    taken = shelf.snapshot(plan.home)
    contract = Contract.read(plan.home / CONTRACT)
    rows = read_parquet(taken.path, list(contract.schema.names))
    return taken, rows, contract


def _inferred(plan: Plan, taken: Snapshot, table: pa.Table, warehouse: Warehouse) -> Contract:
    """Keys and foreign keys as the plan or the database says; of the latter, those whose other table is released."""
    declared = describe(warehouse, plan.table)
    keys = [key for key in (*plan.keys, *declared.keys) if key in table.column_names]
    references = referable(warehouse, plan.table, declared.references) | dict(plan.references)
    schema = infer_schema(table, plan.table, taken.sql_types, keys, references)
    return Contract.infer(table, schema)


def _facts(plan: Plan, taken: Snapshot, contract: Contract, model: "TabDAR") -> dict[str, Any]:
    return {
        "source": f"{plan.database.name}: {plan.table}",
        "data version": taken.data_version,
        "contract": contract.hash,
        "model": model.fingerprint,
        "seeds": f"fit {plan.fit.seed}, sample {plan.sample_seed}",
        "trained for": f"{model.history[-1].seconds:.0f} s, {model.history[-1].epoch:.0f} epochs",
        **{f"library {name}": number for name, number in library_versions().items()},
    }


def with_compute(plan: Plan, compute: FitSettings) -> Plan:
    """The plan with what the compute resource says, where the table says nothing of its own."""
    fit = plan.fit
    ready = replace(
        fit,
        device=compute.device if fit.device == "auto" else fit.device,
        precision=compute.precision if fit.precision == "auto" else fit.precision,
        threads=fit.threads or compute.threads,
    )
    return replace(plan, fit=ready)
