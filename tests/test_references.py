"""Foreign keys from the warehouse to a release: joins hold, and go on to hold."""

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner

from tabdar_pipeline.assets import metadata, refreshing, steps, synthetic
from tabdar_pipeline.assets.steps import Drawn
from tabdar_pipeline.cli import app
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.release.refresh import Way
from tabdar_pipeline.reproduction import reproduce
from tabdar_pipeline.sampling.draws import START
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import find
from tabdar_pipeline.warehouse.references import Bound

LENIENT = {"shape_error": 100, "trend_error": 100, "c2st_boosted": 0.5, "dcr_share": 0.5, "copies": 1}
CUSTOMERS, ORDERS = 300, 900


def component(root: Path, table: str, **source: Any) -> SyntheticTable:
    settings = {
        "source": {"database": str(root / "w.duckdb"), "table": f"shop.{table}"} | source,
        "train": {"epochs": 1},
        "storage": str(root / "run"),
        "policy": LENIENT,
    }
    return SyntheticTable.from_attributes_dict(attributes=settings)


def refresh(root: Path, table: str, **source: Any) -> None:
    defs = dg.build_defs_for_component(component(root, table, **source))
    defs.resolve_job_def(f"refresh_synthetic_{table}").execute_in_process()


def ask(warehouse: Warehouse, query: str) -> list[Any]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Customers, two thirds of whom have orders, and three orders in ten that no customer placed; both released."""
    root = tmp_path_factory.mktemp("references")
    with duckdb.connect(str(root / "w.duckdb")) as connection:
        connection.execute(f"""
            CREATE SCHEMA shop;
            CREATE TABLE shop.customers (id HUGEINT PRIMARY KEY, town VARCHAR);
            CREATE TABLE shop.orders (order_id INTEGER PRIMARY KEY, customer HUGEINT REFERENCES shop.customers (id),
                                      price DECIMAL(8, 2));
            INSERT INTO shop.customers SELECT i, ['Ede', 'Goes'][1 + i % 2] FROM range({CUSTOMERS}) t(i);
            INSERT INTO shop.orders
            SELECT i, CASE WHEN i % 10 < 7 THEN i % 200 END, 1 + i % 37 FROM range({ORDERS}) t(i);
        """)
    for table in ("customers", "orders"):
        refresh(root, table)
    return Warehouse(root / "w.duckdb", wait_s=5)


def test_every_row_refers_to_a_released_row_or_to_none(warehouse: Warehouse) -> None:
    """Two released tables join; no key of the source is in them."""
    lost = "SELECT count(*) FROM synthetic.orders o ANTI JOIN synthetic.customers c ON o.customer = c.id"
    nulls = "SELECT count(*), sum(customer IS NULL)::INT, typeof(any_value(customer)) FROM synthetic.orders"
    real = "SELECT count(*) FROM synthetic.orders JOIN shop.customers ON customer = id"

    assert ask(warehouse, nulls) == [(ORDERS, 270, "HUGEINT")]
    assert ask(warehouse, lost) == [(270,)]
    assert ask(warehouse, real) == [(0,)]


def test_as_many_rows_refer_to_a_row_as_in_the_source(warehouse: Warehouse) -> None:
    fan_out = "SELECT n, count(*) FROM (SELECT count(*) n FROM {} WHERE customer IS NOT NULL GROUP BY customer) GROUP BY n ORDER BY n"

    assert ask(warehouse, fan_out.format("synthetic.orders")) == ask(warehouse, fan_out.format("shop.orders"))


def test_the_manifest_says_which_release_is_referred_to_and_gives_the_rows_back(warehouse: Warehouse) -> None:
    release = find(warehouse, "synthetic.orders")
    model = warehouse.path.parent / "run" / "synthetic.orders" / "model"

    assert release.manifest["references"]["customer"] == {
        "column": "id",
        "release": "synthetic.customers r0001",
        "relation": "synthetic.customers__r0001",
        "others": [],
    }
    assert reproduce(warehouse, release, model).row is None


def test_a_proposed_contract_says_what_duckdb_knows_of_keys(warehouse: Warehouse) -> None:
    """For a person to review."""
    done = CliRunner().invoke(app, ["contract", str(warehouse.path), "--table", "shop.orders"])
    contract = Contract.from_yaml(done.stdout)

    assert contract.schema.references == {"customer": "shop.customers.id"}
    assert contract.schema["order_id"].kind is Kind.KEY


def test_what_is_referred_to_must_be_released_first(warehouse: Warehouse) -> None:
    """Before any training: a reference that YAML names; one that DuckDB knows of is another kind until then."""
    root = warehouse.path.parent
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute(
            "CREATE OR REPLACE TABLE shop.towns AS SELECT i AS id, i % 5 AS size FROM range(60) t(i)"
        )
        connection.execute(
            "CREATE OR REPLACE TABLE shop.visits AS SELECT i % 60 AS town, i % 7 AS stars FROM range(300) t(i)"
        )
    plan = component(root, "visits", references={"town": "shop.towns.id"}).plan(root)
    steps.take_snapshot(plan, warehouse)
    with pytest.raises(
        SourceError, match=r"'town'.*must be released first, however 'shop.towns' has no release"
    ):
        refreshing.decide_refresh(plan, warehouse)


def test_a_new_release_of_what_is_referred_to_is_referred_to_next(warehouse: Warehouse) -> None:
    """Keys of the release before would join with nothing; the model is as good as it was."""
    root = warehouse.path.parent
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute(f"INSERT INTO shop.customers SELECT i, 'Ede' FROM range({CUSTOMERS}, 400) t(i)")
    refresh(root, "customers")
    plan = component(root, "orders").plan(root)
    steps.take_snapshot(plan, warehouse)
    decided = refreshing.decide_refresh(plan, warehouse)

    assert decided.refresh.way is Way.SAMPLE
    assert "'customer' refers to synthetic.customers r0001, and synthetic.customers r0002 is served" in str(
        decided.refresh.reasons
    )
    refresh(root, "orders")
    lost = "SELECT count(*) FROM synthetic.orders o ANTI JOIN synthetic.customers c ON o.customer = c.id"
    assert ask(warehouse, lost) == [(270,)]


def test_the_lineage_of_a_foreign_key_names_the_released_column() -> None:
    """Beside its own in the source: Dagster shows the way to both."""
    bound = Bound("id", "synthetic.customers r0001", "synthetic.customers__r0001")
    drawn = Drawn(3, 0, {"customer": bound, "boss": Bound("id", None, None)}, START)
    key = dg.TableColumnDep(dg.AssetKey(["synthetic", "customers"]), "id")
    assert synthetic._referred(drawn) == {"customer": key}

    columns = (
        Column(
            "customer", Kind.FOREIGN_KEY, "int64", "BIGINT", nullable=True, references="shop.customers.id"
        ),
        Column("price", Kind.NUMBER, "double", "DOUBLE", nullable=False),
    )
    source = dg.AssetKey(["shop", "orders"])
    found = metadata.column_lineage(TableSchema("shop.orders", columns), source, {"customer": key})
    assert found.deps_by_column["customer"] == [dg.TableColumnDep(source, "customer"), key]
    assert found.deps_by_column["price"] == [dg.TableColumnDep(source, "price")]
