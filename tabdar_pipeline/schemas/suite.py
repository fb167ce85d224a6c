"""The great-expectations suites of the way out: one on the candidate, one on the table of figures."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.constraints import Combination, Constraint, Dependency
from tabdar_pipeline.schemas.contract import VOCABULARY, Contract, Rules
from tabdar_pipeline.schemas.types import as_floats

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Limit:
    """What one figure must be, and why."""

    figure: str
    minimum: float | None
    maximum: float | None
    reason: str

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether the figure is within the limit.

        >>> Limit("shape_error", None, 2.0, "").holds({"shape_error": 1.5})
        True
        """
        value = figures[self.figure]
        above = self.minimum is None or value >= self.minimum
        return above and (self.maximum is None or value <= self.maximum)


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """One expectation and what was observed."""

    expectation: str
    column: str | None
    success: bool
    observed: str


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """All expectations of a run."""

    expectations: tuple[ExpectationResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every expectation succeeded."""
        return all(it.success for it in self.expectations)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"passed": self.passed, "expectations": [asdict(it) for it in self.expectations]}


def run_suite(
    candidate: pa.Table,
    contract: Contract,
    limits: Sequence[Limit],
    figures: Mapping[str, float],
    source: pa.Table | None = None,
) -> SuiteResult:
    """Expectations on the candidate's rows, beside those of the source where it is there, and on its figures."""
    import pandas as pd

    names = {str(i): column.name for i, column in enumerate(contract.schema.columns)}
    frame = pd.DataFrame({i: _frame_column(candidate[name]) for i, name in names.items()})
    on_rows = [it for i, c in enumerate(contract.schema.columns) for it in _expected(str(i), c, contract)]
    measured = pd.DataFrame({limit.figure: [figures[limit.figure]] for limit in limits})
    on_figures = [
        (
            "ExpectColumnValuesToBeBetween",
            {"column": m.figure, "min_value": m.minimum, "max_value": m.maximum},
        )
        for m in limits
    ]
    return SuiteResult(
        (
            *_run("candidate", frame, on_rows, names),
            *_on_constraints(candidate, contract, source),
            *_run("figures", measured, on_figures, {}),
        )
    )


def _on_constraints(
    candidate: pa.Table, contract: Contract, source: pa.Table | None
) -> list[ExpectationResult]:
    """That every row keeps what ties its columns together, as the source does."""
    import pandas as pd

    if not contract.constraints:
        return []
    names = {str(i): constraint.sentence for i, constraint in enumerate(contract.constraints)}
    kept = pd.DataFrame(
        {str(i): ~_broken(it, candidate, source) for i, it in enumerate(contract.constraints)}
    )
    expected = [("ExpectColumnValuesToBeInSet", {"column": i, "value_set": [True]}) for i in names]
    return _run("constraints", kept, expected, names)


def _broken(constraint: Constraint, candidate: pa.Table, source: pa.Table | None) -> NDArray[np.bool_]:
    broken = constraint.broken(candidate)
    if source is not None and isinstance(constraint, Combination | Dependency):
        broken = broken | constraint.unlike(candidate, source)
    return broken


Expected = tuple[str, dict[str, Any]]


def _expected(i: str, column: Column, contract: Contract) -> list[Expected]:
    """What the contract says of one column of the candidate, by position."""
    rules = contract.rules.get(column.name, Rules())
    found: list[Expected] = [("ExpectColumnToExist", {"column": i})]
    if not column.nullable:
        found.append(("ExpectColumnValuesToNotBeNull", {"column": i}))
    if rules.unique:
        found.append(("ExpectColumnValuesToBeUnique", {"column": i}))
    if rules.allowed is not None and len(rules.allowed) <= VOCABULARY:
        found.append(("ExpectColumnValuesToBeInSet", {"column": i, "value_set": list(rules.allowed)}))
    if column.kind is Kind.NUMBER and (rules.minimum, rules.maximum) != (None, None):
        ends = (None if end is None else float(end) for end in (rules.minimum, rules.maximum))
        low, high = ends
        found.append(("ExpectColumnValuesToBeBetween", {"column": i, "min_value": low, "max_value": high}))
    return found


def _frame_column(values: pa.ChunkedArray) -> "pd.Series[Any]":
    """Numbers as floats, all else as text: what expectations compare."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    if pa.types.is_integer(kind) and not values.null_count:
        return values.to_pandas()  # as floats, keys beyond 2**53 would be alike
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return as_floats(values).to_pandas()
    if pa.types.is_binary(kind):
        return values.to_pandas()
    return values.cast(pa.string()).to_pandas()


def _run(
    name: str, frame: "pd.DataFrame", expected: Sequence[Expected], names: Mapping[str, str]
) -> list[ExpectationResult]:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    suite = gx.ExpectationSuite(
        name=name, expectations=[getattr(gx.expectations, kind)(**facts) for kind, facts in expected]
    )
    source = context.data_sources.add_pandas(name)
    definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    result = definition.get_batch({"dataframe": frame}).validate(suite)
    return [_result(it, names) for it in result.results]


def _result(it: Any, names: Mapping[str, str]) -> ExpectationResult:
    config = it.expectation_config
    column = config.kwargs.get("column")
    observed = it.result.get("observed_value", it.result.get("partial_unexpected_list"))
    count = it.result.get("unexpected_count")
    text = f"{count} unexpected, for example {observed[:3]}" if count and observed else str(observed)
    if it.exception_info and it.exception_info.get("raised_exception"):
        text = str(it.exception_info.get("exception_message"))
    return ExpectationResult(config.type, names.get(column, column), bool(it.success), text)
