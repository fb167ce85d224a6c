"""What the source must satisfy: one YAML with kinds, types and rules, enforced by pandera.

A person writes or reviews it once and versions it with their code. `Contract.infer` proposes one:
ranges, vocabularies and nullability as seen, no wider.
"""

import hashlib
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabdar_pipeline.errors import ContractViolation, UsageError, Violation
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.constraints import Constraint, from_record, refuse_unknown, to_record
from tabdar_pipeline.schemas.discovery import discover, supported
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type, as_floats, from_text

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera

VOCABULARY = 50  # levels that an inferred contract lists; a longer list no one reviews
EXAMPLES = 3
_AS_TEXT = (Kind.CATEGORY, Kind.KEY, Kind.FOREIGN_KEY, Kind.TEXT, Kind.CONSTANT, Kind.LEAVE_OUT)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the cells of one column must satisfy."""

    minimum: str | None = None  # as text, so that decimals and dates stay exact
    maximum: str | None = None
    allowed: tuple[str, ...] | None = None
    unique: bool = False

    @classmethod
    def seen(cls, column: Column, values: pa.ChunkedArray) -> Self:
        """What these cells satisfy, and no wider."""
        if column.kind in (Kind.NUMBER, Kind.DATETIME):
            ends = pc.min_max(_finite(values))
            if ends["min"].as_py() is None:
                return cls()
            return cls(minimum=str(ends["min"].cast(pa.string())), maximum=str(ends["max"].cast(pa.string())))
        if column.kind is Kind.CATEGORY:
            levels = sorted(cls.levels(values))
            return cls(allowed=tuple(levels) if len(levels) <= VOCABULARY else None)
        return cls(unique=column.kind is Kind.KEY)

    @staticmethod
    def levels(values: pa.ChunkedArray) -> set[str]:
        """The values that occur, as text."""
        return set(pc.unique(_text(values)).drop_null().to_pylist())


@dataclass(frozen=True, slots=True)
class Contract:
    """A schema and the rules of its columns."""

    schema: TableSchema
    rules: Mapping[str, Rules]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def infer(cls, table: pa.Table, schema: TableSchema) -> Self:
        """The contract that this table satisfies."""
        found = tuple(proposal.constraint for proposal in discover(table, schema))
        return cls(schema, {c.name: Rules.seen(c, table[c.name]) for c in schema.columns}, found)

    @classmethod
    def of(cls, column: Column, rules: Rules) -> Self:
        """A contract of one column alone."""
        return cls(TableSchema(column.name, (column,)), {column.name: rules})

    @property
    def hash(self) -> str:
        """SHA-256 of its content; comments and reasons do not count."""
        rules = {name: asdict(rule) for name, rule in self.rules.items()}
        ties = [to_record(constraint) for constraint in self.constraints]
        text = json.dumps([self.schema.fingerprint, rules, *([ties] if ties else [])], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def released(self) -> "Contract":
        """The contract of what is learned and released: without the columns that are left out, and what ties them."""
        kept = tuple(column for column in self.schema.columns if column.kind is not Kind.LEAVE_OUT)
        schema = TableSchema(self.schema.name, kept)
        return Contract(
            schema,
            {name: rules for name, rules in self.rules.items() if name in schema.names},
            tuple(it for it in self.constraints if set(it.columns) <= set(schema.names)),
        )

    def validate(self, table: pa.Table) -> tuple[Violation, ...]:
        """Every rule that the table breaks, with count and examples; empty if none."""
        structural = _structure(self.schema, table)
        if structural:
            return structural
        return _cells(self, table)

    def exceptions(self, table: pa.Table) -> dict[str, int]:
        """Rows that break a constraint, by its sentence: to be known, not fatal."""
        found = {c.sentence: int(c.broken(table).sum()) for c in self.constraints}
        return {sentence: rows for sentence, rows in found.items() if rows}

    def enforce(self, table: pa.Table) -> None:
        """Raise ContractViolation where the table breaks a rule."""
        violations = self.validate(table)
        if violations:
            raise ContractViolation(self.schema.name, violations)

    def to_yaml(self, table: pa.Table | None = None) -> str:
        """For review: one entry a column; constraints with the support that a table gives them, where it is there."""
        columns = {
            c.name: {
                "kind": str(c.kind),
                "arrow_type": c.arrow_type,
                "sql_type": c.sql_type,
                "nullable": c.nullable,
                **({"reason": c.reason} if c.reason else {}),
                **({"privacy": c.privacy} if c.privacy != "protect" else {}),
                **({"rare": c.rare} if c.rare is not None else {}),
                **({"references": c.references} if c.references is not None else {}),
                **_compact(self.rules.get(c.name, Rules())),
            }
            for c in self.schema.columns
        }
        head = (
            "# Contract of a source table: reviewed by a person, versioned with the code.\n"
            "# kind: number | datetime | category | key | foreign_key | text | constant | leave_out\n"
            "# constraints: what ties the columns of a row together; the synthetic rows keep it\n"
            "# privacy: protect (default) | public; rare: rows that must share a value, 5 where not given\n"
        )
        text = head + _dumped({"table": self.schema.name, "columns": columns})
        if not self.constraints:
            return text
        return text + "constraints:\n" + "".join(_noted(it, table) for it in self.constraints)

    @classmethod
    def from_yaml(cls, text: str, source: str = "contract") -> Self:
        """The contract that `to_yaml` wrote, or a person; unknown keys are refused."""
        import yaml

        try:
            record = yaml.safe_load(text)
            if set(record) - {"constraints"} != {"table", "columns"}:
                raise UsageError(
                    f"{source}: keys must be table, columns and constraints, however: {sorted(record)}."
                )
            pairs = [_entry(name, entry, source) for name, entry in record["columns"].items()]
            constraints = tuple(from_record(entry, source) for entry in record.get("constraints") or ())
        except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{source}: a contract must be YAML as `tabdar contract` writes it, however: {error}"
            ) from error
        schema = TableSchema(record["table"], tuple(column for column, _ in pairs))
        refuse_unknown(constraints, schema.names, source)
        return cls(schema, {column.name: rules for column, rules in pairs}, constraints)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file."""
        if not path.is_file():
            raise UsageError(f"a contract must exist, however {str(path)!r} does not. Correct the path.")
        return cls.from_yaml(path.read_text(encoding="utf-8"), str(path))


def _entry(name: str, entry: dict[str, Any], source: str) -> tuple[Column, Rules]:
    names = {f.name for f in fields(Rules)}
    known = names | {f.name for f in fields(Column)} - {"name"}
    unknown = sorted(set(entry) - known)
    if unknown:
        raise UsageError(f"{source}, column {name!r}: keys must be of {sorted(known)}, however: {unknown}.")
    kinds = [str(kind) for kind in Kind]
    if entry.get("kind") not in kinds:
        raise UsageError(
            f"{source}, column {name!r}: kind must be of {kinds}, however: {entry.get('kind')!r}."
        )
    rules = {k: v for k, v in entry.items() if k in names}
    if rules.get("allowed") is not None:
        rules["allowed"] = tuple(rules["allowed"])
    column = {k: v for k, v in entry.items() if k not in names}
    return Column(name=name, **{**column, "kind": Kind(column["kind"])}), Rules(**rules)


def _dumped(body: Any) -> str:
    """YAML that comes back exactly: PyYAML's plain style loses NEL, LS and PS, its quoted one escapes them."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: Dumper, value: str) -> yaml.ScalarNode:
        style = None if value.isprintable() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(body, Dumper=Dumper, sort_keys=False, allow_unicode=True))


def _noted(constraint: Constraint, table: pa.Table | None) -> str:
    """One constraint in YAML, below a comment that says how many rows keep it."""
    entry = _dumped([to_record(constraint)])
    return entry if table is None else f"# kept by {supported(constraint, table).support}\n{entry}"


def _compact(rules: Rules) -> dict[str, Any]:
    record = {k: v for k, v in asdict(rules).items() if v not in (None, False)}
    if rules.allowed is not None:
        record["allowed"] = list(rules.allowed)
    return record


def _finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.filter(pc.is_finite(values)) if pa.types.is_floating(values.type) else values


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values.cast(pa.string())


def _structure(schema: TableSchema, table: pa.Table) -> tuple[Violation, ...]:
    """Columns that are missing, unexpected, or of another type."""
    have = {field.name: str(field.type) for field in table.schema}
    found = [
        Violation(c.name, "column is there", table.num_rows, ()) for c in schema.columns if c.name not in have
    ]
    found += [
        Violation(name, "column is in the contract", table.num_rows, ())
        for name in have
        if name not in schema.names
    ]
    found += [
        Violation(c.name, f"type is {c.arrow_type}", table.num_rows, (have[c.name],))
        for c in schema.columns
        if have.get(c.name, c.arrow_type) != c.arrow_type
    ]
    return tuple(found)


def _cells(contract: Contract, table: pa.Table) -> tuple[Violation, ...]:
    """The cells that break a rule, found by pandera, all at once."""
    import pandera.errors

    frame = _comparable(contract, table)
    try:
        _pandera(contract).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        return _violations(error.failure_cases, contract.schema.names)
    return ()


def _pandera(contract: Contract) -> "pandera.DataFrameSchema":
    import pandera.pandas as pandera

    columns = {}
    for i, column in enumerate(contract.schema.columns):
        rules, checks = contract.rules.get(column.name, Rules()), []
        if rules.minimum is not None:
            checks.append(_check(operator.ge, _value(rules.minimum, column), f"minimum {rules.minimum}"))
        if rules.maximum is not None:
            checks.append(_check(operator.le, _value(rules.maximum, column), f"maximum {rules.maximum}"))
        if rules.allowed is not None:
            checks.append(pandera.Check.isin(list(rules.allowed), name=f"allowed {list(rules.allowed)}"))
        columns[str(i)] = pandera.Column(checks=checks, nullable=column.nullable, unique=rules.unique)
    return pandera.DataFrameSchema(columns)


def _check(compare: Callable[[Any, Any], Any], bound: Any, name: str) -> "pandera.Check":
    """A bound of finite values: NaN and infinities are values of their own, not numbers out of range."""
    import pandera.pandas as pandera

    def holds(values: "pd.Series[Any]") -> Any:
        if values.dtype.kind != "f":
            return compare(values, bound)
        return compare(values, bound) | ~np.isfinite(values.to_numpy(np.float64, na_value=np.nan))

    return pandera.Check(holds, name=name)


def _comparable(contract: Contract, table: pa.Table) -> "pd.DataFrame":
    """Columns by position (names can be anything): numbers and times as such, categories as text."""
    import pandas as pd

    frame = {}
    for i, column in enumerate(contract.schema.columns):
        values = table[column.name]
        if column.kind in _AS_TEXT:
            frame[str(i)] = (
                _text(values).to_pandas() if not pa.types.is_binary(values.type) else values.to_pandas()
            )
        elif pa.types.is_decimal(values.type) or pa.types.is_uint64(values.type):
            frame[str(i)] = as_floats(values).to_pandas()
        else:
            frame[str(i)] = values.to_pandas(types_mapper=pd.ArrowDtype)
    return pd.DataFrame(frame)


def _value(text: str, column: Column) -> Any:
    kind = arrow_type(column.arrow_type)
    try:
        if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
            return float(text)
        return from_text([text], kind)[0].as_py()
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise UsageError(
            f"column {column.name!r}: minimum and maximum must be of its type, {kind}, written as text, however: "
            f"{text!r} ({error}). Correct the contract."
        ) from error


def _violations(cases: "pd.DataFrame", names: tuple[str, ...]) -> tuple[Violation, ...]:
    found = []
    for (column, check), rows in cases.groupby(["column", "check"], sort=False):
        examples = tuple(str(v) for v in rows["failure_case"].drop_duplicates().head(EXAMPLES))
        found.append(Violation(names[int(str(column))], str(check), len(rows), examples))
    return tuple(found)
