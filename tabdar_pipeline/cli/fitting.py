"""`tabdar fit` and `tabdar export`: a table becomes a model directory."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tabdar_pipeline.cli.options import (
    PANDAS_INDEX,
    Device,
    JsonOption,
    MissingName,
    Precision,
    Preset,
    SeedOption,
    TableOption,
)
from tabdar_pipeline.console import progress_bar, say

if TYPE_CHECKING:
    import pyarrow as pa

    from tabdar_pipeline.schemas.constraints import Constraint
    from tabdar_pipeline.schemas.table import TableSchema
    from tabdar_pipeline.synthesizer import TabDAR


def fit(
    source: Annotated[Path, typer.Argument(help=".parquet, .csv or .duckdb to learn from.")],
    model_dir: Annotated[Path, typer.Argument(help="Where to write the model.")],
    table: TableOption = None,
    seconds: Annotated[
        float | None, typer.Option(help="Budget from reading to best weights; 120 where no budget is given.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Budget in epochs, instead.")] = None,
    seed: SeedOption = 0,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    preset: Annotated[
        Preset, typer.Option(help="Size of the network; auto: by rows, columns, budget and device.")
    ] = Preset.auto,
    precision: Annotated[
        Precision, typer.Option(help="auto: bf16 where a CPU multiplies it in hardware, else fp32.")
    ] = Precision.auto,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; as many as there are.")] = None,
    missing: Annotated[
        MissingName,
        typer.Option(help="generated: a value that is drawn, too; unknown: neither learned nor evidence."),
    ] = MissingName.generated,
    contract: Annotated[
        Path | None, typer.Option(help="Contract (YAML) that the source must satisfy.")
    ] = None,
    alone: Annotated[
        list[str] | None,
        typer.Option(
            help="A column that conditions can name by itself, whatever constraints tie it; again for more."
        ),
    ] = None,
    warm: Annotated[
        Path | None, typer.Option(help="A model of an earlier state of the table, to begin with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Learn a table and write a model directory, with its ONNX graphs.

    Started by torchrun, its processes share each batch, and the first one writes.
    """
    started = time.perf_counter()
    from tabdar_pipeline.fitting import FitSettings
    from tabdar_pipeline.model.workers import Place
    from tabdar_pipeline.output import refuse_foreign_folder
    from tabdar_pipeline.synthesizer import TabDAR

    settings = FitSettings(
        seconds=seconds,
        epochs=epochs,
        seed=seed,
        device=device.value,
        preset=preset.value,
        precision=precision.value,
        threads=threads,
        missing=missing.value,
    )
    refuse_foreign_folder(model_dir)
    it = learnable(source, table, contract)
    first = Place.here().rank == 0
    with progress_bar("fitting", shown=first) as tell:
        model = TabDAR.fit(
            it.rows,
            name=it.schema.name,
            schema=it.schema,
            constraints=it.constraints,
            settings=settings,
            started=started,
            progress=lambda r: tell(r.budget, f"epoch {r.epoch:.1f}  loss {r.validation_loss:.3f}"),
            resume=model_dir.with_name(f".{model_dir.name}-training"),
            warm=TabDAR.load(warm) if warm is not None else None,
            alone=alone or (),
        )
    if not first:
        return
    model.save(model_dir)
    facts = _facts(model, model_dir, it.rows.num_rows)
    say(facts, _sentence(facts), as_json=as_json)


def _facts(model: "TabDAR", model_dir: Path, rows: int) -> dict[str, Any]:
    """What came of a fit; exports the model."""
    last = model.history[-1]
    return {
        "model": str(model_dir),
        "fingerprint": model.fingerprint,
        "rows": rows,
        "epochs": last.epoch,
        "seconds": last.seconds,
        "stopped_early": model.stopped_early,
        "parity": model.export().parity,
        "constraints": [constraint.sentence for constraint in model.codec.rules.constraints],
        "validation_loss": min(r.validation_loss for r in model.history),
        "protected": model.codec.to_json()["protected"],
    }


def _sentence(facts: dict[str, Any]) -> str:
    """What came of a fit, in a line."""
    early = "" if facts["stopped_early"] is None else f", {facts['stopped_early']}"
    return (
        f"{facts['model']}: {facts['epochs']:.1f} epochs in {facts['seconds']:.0f} s{early}, "
        f"ONNX within {facts['parity']:.1g} of torch"
    )


def export(
    model_dir: Annotated[Path, typer.Argument(help="A model that `tabdar fit` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Write backbone.onnx, query.onnx and denoiser.onnx, checked against torch."""
    from tabdar_pipeline.synthesizer import TabDAR

    record = TabDAR.load(model_dir).export()
    facts = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(record).items()}
    say(
        facts,
        f"{record.folder}: within {record.parity:.1g} of torch, {record.bytes / 1e6:.1f} MB",
        as_json=as_json,
    )


@dataclass(frozen=True, slots=True)
class Learnable:
    """What a model is fitted to."""

    rows: "pa.Table"
    schema: "TableSchema"
    constraints: "tuple[Constraint, ...] | None"  # None: to be discovered


def learnable(source: Path, table: str | None, contract: Path | None) -> Learnable:
    """The rows of a source, their schema and constraints: inferred, or as a contract declares them."""
    from tabdar_pipeline.schemas.contract import Contract
    from tabdar_pipeline.schemas.infer import infer_schema
    from tabdar_pipeline.warehouse.catalog import describe
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.snapshot import read_table

    declared = Contract.read(contract) if contract is not None else None
    rows, sql_types = read_table(source, table)
    rows = rows.select([c for c in rows.column_names if c != PANDAS_INDEX])
    if declared is not None:
        declared.enforce(rows)
        released = declared.released
        return Learnable(rows.select(released.schema.names), released.schema, released.constraints)
    keys = describe(Warehouse(source), table).keys if table is not None else ()
    return Learnable(rows, infer_schema(rows, table or source.stem, sql_types, keys), None)
