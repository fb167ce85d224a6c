"""`tabdar_pipeline.TableCollection`: one YAML for many tables, with defaults and what differs."""

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from pydantic import Field, ValidationError

from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.synthetic import Names
from tabdar_pipeline.components.family import Family, Timing, families
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.components.table import SECONDS
from tabdar_pipeline.components.ticks import Subject
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.warehouse.names import ColumnName, resolved


class CollectionScaffolder(dg.Scaffolder[Any]):
    """`dg scaffold defs tabdar_pipeline.TableCollection crm`."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write defs.yaml."""
        defaults = {"source": {"database": "warehouse.duckdb"}, "train": {"seconds": SECONDS}}
        tables = {"main.customers": {}, "main.orders": {"train": {"seconds": 2 * SECONDS}}}
        dg.scaffold_component(request, {"defaults": defaults, "tables": tables})


@dg.scaffold_with(CollectionScaffolder)
class TableCollection(dg.Component, dg.Model, dg.Resolvable):
    """Synthetic tables, each with its own assets, checks, job and sensor; those that `references` join share a schedule."""

    defaults: Annotated[
        dict[str, Any], Field(description="Attributes of a SyntheticTable that hold for every table.")
    ] = {}
    tables: Annotated[
        dict[str, dict[str, Any] | None],
        Field(
            min_length=1,
            description="By schema.table of the source: the attributes in which a table differs, if any.",
        ),
    ]

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """How `dg list components` shows it."""
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["synthetic data", "duckdb"])

    def table(self, name: str, attributes: Mapping[str, Any]) -> SyntheticTable:
        """One table of the collection; override to make it of another class."""
        try:
            return SyntheticTable.model_validate(attributes)
        except ValidationError as error:
            raise UsageError(f"table {name!r} of the collection: {error}") from error

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of all tables."""
        tables = {}
        for name, differs in self.tables.items():
            attributes = overlaid({"source": {"table": name}}, self.defaults)
            tables[name] = self.table(name, overlaid(attributes, differs or {}))
        root = Path(context.project_root)
        plans = {name: it.plan(root) for name, it in tables.items()}
        _refuse_shared({name: plan.target for name, plan in plans.items()})
        after = {name: _referred(name, plans) for name in plans}
        _refuse_circles(after)
        related = _families(tables, plans, after)
        joined = {it.target for family in related for it in family.members}
        own = [
            it.definitions(
                root,
                [Names.of(plans[other]).release for other in after[name]],
                scheduled=plans[name].target not in joined,
            )
            for name, it in tables.items()
        ]
        return dg.Definitions.merge(*own, *(family.definitions() for family in related))


def _families(
    tables: Mapping[str, SyntheticTable], plans: Mapping[str, Plan], after: Mapping[str, Sequence[str]]
) -> list[Family]:
    """The tables that foreign keys join and that have the same schedule; those with partitions go by themselves."""
    by_timing: dict[Timing, dict[str, Subject]] = {}
    related = {it for name, others in after.items() if others for it in (name, *others)}
    for name in TopologicalSorter(after).static_order():
        table, plan = tables[name], plans[name]
        if name in related and table.schedule is not None and plan.partitions is None:
            timing = Timing(table.schedule, table.timezone, table.execution == "in_process")
            by_timing.setdefault(timing, {})[name] = table.subject(plan, table.asset_specs(plan))
    return [family for timing, subjects in by_timing.items() for family in families(subjects, after, timing)]


def _referred(name: str, plans: Mapping[str, Plan]) -> list[str]:
    """The other tables of the collection that one refers to."""
    sources = {plan.table: other for other, plan in plans.items() if other != name}
    tables = [str(ColumnName.parse(it).relation) for it in plans[name].references.values()]
    return [sources[found] for it in tables if (found := resolved(it, list(sources))) is not None]


def _refuse_circles(after: Mapping[str, Iterable[str]]) -> None:
    """Raise UsageError where tables refer to each other: none could be the first to be released."""
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        raise UsageError(
            f"foreign keys must not go in a circle, however: {' -> '.join(error.args[1])}. "
            "Leave one of these `references` out."
        ) from error


def _refuse_shared(targets: Mapping[str, str]) -> None:
    """Raise UsageError where two tables would release as one."""
    by_target: dict[str, str] = {}
    for name, target in targets.items():
        first = by_target.setdefault(target, name)
        if first != name:
            raise UsageError(
                f"each table must have a target of its own, however {first!r} and {name!r} both have {target!r}. "
                "Give one of them another `target`."
            )


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """What is above in the place of what is below; mappings are joined, all else is replaced.

    >>> overlaid({"train": {"seconds": 60, "seed": 1}, "keep": 3}, {"train": {"seconds": 300}})
    {'train': {'seconds': 300, 'seed': 1}, 'keep': 3}
    """
    both = {
        name: overlaid(below[name], it)
        if isinstance(it, Mapping) and isinstance(below.get(name), Mapping)
        else it
        for name, it in above.items()
    }
    return {**below, **both}
