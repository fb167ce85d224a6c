"""The filled table: in the warehouse, with flags, by its own model or by that of a synthetic table."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from tabdar_pipeline.assets.news import News
from tabdar_pipeline.components.imputed_table import ImputedTable
from tabdar_pipeline.warehouse.demo import build_demo
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import releases

TARGET = "imputed.customers"


def defs(root: Path, **attributes: Any) -> dg.Definitions:
    settings = {
        "source": {"database": str(root / "demo.duckdb"), "table": "crm.customers"},
        "train": {"epochs": 2},
        "storage": str(root / "run"),
    }
    component = ImputedTable.from_attributes_dict(attributes=settings | attributes)
    return dg.build_defs_for_component(component)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse whose customers were filled once."""
    root = tmp_path_factory.mktemp("filled")
    build_demo(root / "demo.duckdb", rows=1200)
    job = defs(root).resolve_job_def("refresh_imputed_customers")
    assert job.execute_in_process().success
    return root


def table(root: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(root / "demo.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_missing_cells_are_filled_and_observed_ones_kept(root: Path) -> None:
    """Bit for bit, row by row, in the types of the source."""
    types = [[(r[0], r[1]) for r in table(root, f"DESCRIBE {name}")] for name in ("crm.customers", TARGET)]
    nullable = [name for name, _ in types[0] if name != "customer_id"]
    changed = " OR ".join(f'(s."{n}" IS NOT NULL AND s."{n}" IS DISTINCT FROM f."{n}")' for n in nullable)
    joined = f"crm.customers s JOIN {TARGET} f USING (customer_id)"

    assert types[0] == types[1]
    assert table(root, f"SELECT count(*) FROM {joined}") == [(1200,)]
    assert table(root, f"SELECT count(*) FROM {joined} WHERE {changed}") == [(0,)]
    assert table(root, "SELECT count(*) FROM crm.customers WHERE satisfaction IS NULL") > [(0,)]
    assert table(root, f"SELECT count(*) FROM {TARGET} WHERE satisfaction IS NULL") == [(0,)]


def test_flags_say_which_cells_were_filled(root: Path) -> None:
    """One BOOLEAN a column, with the keys, served beside the table."""
    wrong = table(
        root,
        f"SELECT count(*) FROM crm.customers s JOIN {TARGET}__imputed i USING (customer_id) "
        "WHERE i.satisfaction <> (s.satisfaction IS NULL)",
    )
    manifest = releases(Warehouse(root / "demo.duckdb"), TARGET)[0].manifest

    assert wrong == [(0,)]
    assert manifest["kind"] == "imputed"
    assert manifest["cells"]["satisfaction"] > 0
    assert {t["column"] for t in manifest["tests"]} >= {"age", "plan", "spend"}


def test_new_rows_are_filled_without_fitting_again(root: Path) -> None:
    """The job that only fills; the model stays the same, the earlier release too."""
    with duckdb.connect(str(root / "demo.duckdb")) as connection:
        connection.execute("ALTER TABLE crm.customers ALTER age DROP NOT NULL")
        connection.execute(
            "INSERT INTO crm.customers BY NAME SELECT * REPLACE ('new-' || customer_id AS customer_id, "
            "NULL AS age, 99999 AS spend) FROM crm.customers LIMIT 5"
        )
    job = defs(root, impute={"draws": 2}, target="more.customers", reuse=TARGET)
    result = job.resolve_job_def("fill_more_customers").execute_in_process()

    assert result.success
    assert table(root, "SELECT count(*), count(age), max(draw) FROM more.customers") == [(2410, 2410, 2)]
    assert releases(Warehouse(root / "demo.duckdb"), TARGET)[0].number == 1
    assert releases(Warehouse(root / "demo.duckdb"), "more.customers")[0].manifest["unseen"]["spend"] >= 5


def test_a_tick_fills_only_where_something_is_new(root: Path) -> None:
    """Rows, the model, or what is asked; else the UI says what was filled."""
    with duckdb.connect(str(root / "demo.duckdb")) as connection:
        connection.execute("CREATE TABLE crm.ticked AS SELECT * FROM crm.customers")
    attributes: dict[str, Any] = {
        "source": {"database": str(root / "demo.duckdb"), "table": "crm.ticked"},
        "storage": str(root / "run"),
        "target": "ticked",
        "reuse": TARGET,
    }

    def look(**others: Any) -> News:
        it = ImputedTable.from_attributes_dict(attributes=attributes | others)
        return it.look(it.plan(root), Warehouse(root / "demo.duckdb"))

    assert look() == News(True, "nothing was released as ticked.ticked yet")
    job = defs(root, **attributes).resolve_job_def("fill_ticked_ticked")
    assert job.execute_in_process().success
    assert not look().due
    assert look().why.endswith("as before. Of these rows ticked.ticked r0001 was released.")
    assert look(impute={"seed": 4}) == News(True, "ticked.ticked r0001 is of another settings")
    assert look(source=attributes["source"] | {"where": "age > 3"}).due

    with duckdb.connect(str(root / "demo.duckdb")) as connection:
        connection.execute("DELETE FROM crm.ticked WHERE age > 60")
    assert "crm.ticked has something new" in look().why


def test_the_releases_to_keep_are_kept(root: Path) -> None:
    """The next one retires the one before, whose record stays."""
    job = defs(root, target="kept.customers", reuse=TARGET, keep=1).resolve_job_def("fill_kept_customers")
    assert all(job.execute_in_process().success for _ in range(2))

    newest, oldest = releases(Warehouse(root / "demo.duckdb"), "kept.customers")
    assert (newest.served, newest.retired, oldest.served) == (True, None, False)
    assert oldest.retired is not None
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'kept'"
    assert table(root, tables) == [(4,)]  # rows and flags, and the views that serve them


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """When the definitions load."""
    for attributes in (
        {"impute": {"draws": 3, "point": "mean"}},
        {"impute": {"point": "mid"}},
        {"impute": {"columns": []}},
        {"impute": {"intervals": 90}},
        {"schedule": "daily"},
        {"target": "crm"},
    ):
        with pytest.raises(Exception, match=r"."):
            defs(tmp_path, **attributes)


def test_a_table_without_a_key_has_the_numbers_of_its_rows(root: Path) -> None:
    """Flags and intervals count them as they lie in the release."""
    columns = ["age", "plan", "spend", "satisfaction"]
    source = {"database": str(root / "demo.duckdb"), "table": "crm.customers", "columns": columns}
    settings = {"source": source, "target": "keyless.customers", "impute": {"intervals": 0.9}}
    assert defs(root, **settings).resolve_job_def("refresh_keyless_customers").execute_in_process().success
    numbered = "(SELECT row_number() OVER () AS row, * FROM keyless.customers) r JOIN keyless.customers"
    filled = table(
        root, f"SELECT r.spend FROM {numbered}__imputed i USING (row) WHERE i.satisfaction ORDER BY ALL"
    )
    gone = "FROM crm.customers WHERE satisfaction IS NULL"
    outside = table(
        root,
        f"SELECT count(*), count(*) FILTER (satisfaction NOT BETWEEN satisfaction__low AND satisfaction__high) "
        f"FROM {numbered}__intervals USING (row) WHERE satisfaction__low IS NOT NULL",
    )

    assert filled == table(root, f"SELECT spend {gone} ORDER BY ALL")
    assert outside[0][0] == len(filled)
    assert outside[0][1] < 0.35 * len(filled)


@pytest.mark.parametrize(
    ("attributes", "step", "message"),
    [
        ({"impute": {"columns": ["agee"]}}, "snapshot", r"'crm\.customers'.*'agee'.*Choose"),
        (
            {"target": "lost.customers", "reuse": "imputed.nowhere"},
            "filled",
            r"'lost\.customers'.*'imputed\.nowhere'",
        ),
        (
            {"source": {"columns": ["customer_id", "age", "plan"]}},
            "filled",
            r"'crm\.customers'.*lacks .*'spend'",
        ),
    ],
)
def test_what_cannot_be_filled_is_refused_by_name(
    root: Path, attributes: dict[str, Any], step: str, message: str
) -> None:
    """At the first step that can know: a name that is none, a model that is none, a column that went."""
    source = {"database": str(root / "demo.duckdb"), "table": "crm.customers"} | attributes.get("source", {})
    target = attributes.get("target", TARGET).replace(".", "_")
    job = defs(root, **{**attributes, "source": source}).resolve_job_def(f"fill_{target}")
    result = job.execute_in_process(raise_on_error=False)
    failed = [event for event in result.all_events if event.is_step_failure]

    assert [event.step_key.rsplit("__", 1)[-1] for event in failed] == [step]
    assert re.search(message, str(failed[0].step_failure_data.error))
