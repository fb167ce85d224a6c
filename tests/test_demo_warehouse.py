"""The demo warehouse: made-up people whose true conditionals are known, and hold in the data."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from tabdar_pipeline.errors import StorageError, UsageError
from tabdar_pipeline.warehouse import customers as truth
from tabdar_pipeline.warehouse.catalog import describe
from tabdar_pipeline.warehouse.demo import TABLE, build_demo
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.snapshot import data_version

ROWS = 60_000
PLANS, REGIONS = list(truth.PLANS), list(truth.REGIONS)


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    """A large sample of the structural model."""
    return truth.customers(ROWS, seed=7)


def plan_of(people: pd.DataFrame) -> np.ndarray:
    """Plans by rank."""
    return people["plan"].map(PLANS.index).to_numpy()


def near(share: float, true: float, rows: int) -> bool:
    """Whether an observed share is within four standard errors of the true one."""
    return bool(abs(share - true) <= 4 * np.sqrt(true * (1 - true) / rows) + 1e-9)


def test_the_demo_is_one_table_of_every_type_and_says_that_it_is_made_up(tmp_path: Path) -> None:
    """In the comment of the table and of every column."""
    build_demo(tmp_path / "demo.duckdb", rows=3000)
    found = describe(Warehouse(tmp_path / "demo.duckdb"), TABLE)
    assert found.keys == ("customer_id",)
    assert {kind.partition("(")[0] for kind in found.sql_types.values()} == {
        "VARCHAR",
        "ENUM",
        "SMALLINT",
        "INTEGER",
        "TINYINT",
        "DECIMAL",
        "DOUBLE",
        "BOOLEAN",
        "DATE",
        "TIMESTAMP",
    }
    assert found.sql_types["spend"] == "DECIMAL(12,2)"
    assert "Made-up" in str(found.comment)
    assert list(found.comments) == list(found.sql_types)
    assert all("Made up" in comment for comment in found.comments.values())


def test_a_seed_gives_the_same_demo_and_another_seed_another(tmp_path: Path) -> None:
    """To the last row."""
    versions = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_demo(tmp_path / f"{name}.duckdb", rows=500, seed=seed)
        versions.append(data_version(Warehouse(tmp_path / f"{name}.duckdb"), TABLE))
    assert versions[0] == versions[1] != versions[2]


def test_the_same_demo_is_kept_with_what_was_published_beside_it(tmp_path: Path) -> None:
    """The second `make demo` makes the second release."""
    path = tmp_path / "demo.duckdb"
    build_demo(path, rows=50)
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1 AS x")
    build_demo(path, rows=50)
    assert describe(Warehouse(path), "mine").sql_types == {"x": "INTEGER"}


def test_nothing_of_a_user_is_overwritten(tmp_path: Path) -> None:
    """Neither a database of another content nor a file of another kind."""
    path = tmp_path / "warehouse.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(StorageError, match="something else"):
        build_demo(path)
    (tmp_path / "notes.txt").write_text("a line of notes\n" * 1000)
    with pytest.raises(StorageError):
        build_demo(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("a line")
    with pytest.raises(UsageError):
        build_demo(tmp_path / "new.duckdb", rows=0)
    assert not (tmp_path / "new.duckdb").exists()


def test_a_city_has_its_share_of_its_region(people: pd.DataFrame) -> None:
    """About 500 in all, by Zipf."""
    assert 480 <= people["city"].nunique() <= 500
    north = people[people["region"] == "north"]
    for town, true in enumerate(truth.city_shares()[:20]):
        assert near((north["city"] == f"north town {town + 1:03d}").mean(), true, len(north))


def test_ages_are_bimodal_as_said(people: pd.DataFrame) -> None:
    """Whole years; the valley is lower than both peaks."""
    true = truth.age_shares()
    assert true.sum() == pytest.approx(1)
    observed = people["age"].value_counts(normalize=True).reindex(truth.AGES, fill_value=0)
    assert all(near(share, it, ROWS) for share, it in zip(observed, true, strict=True))
    assert observed[33] < min(observed[24], observed[46])


def test_the_plan_depends_on_age_and_region_as_said(people: pd.DataFrame) -> None:
    """In cells of one age and one side of the border."""
    for age in (22, 30, 45, 60):
        for abroad in (False, True):
            cell = people[(people["age"] == age) & ((people["region"] == "abroad") == abroad)]
            (true,) = truth.plan_given(np.array([float(age)]), np.array([abroad]))
            for plan, share in zip(PLANS, true, strict=True):
                assert near((cell["plan"] == plan).mean(), share, len(cell))


def test_orders_tell_of_the_plan_as_bayes_says(people: pd.DataFrame) -> None:
    """A conditional against the arrow of the model."""
    assert all(
        near((people["plan"] == p).mean(), t, ROWS) for p, t in zip(PLANS, truth.plan_shares(), strict=True)
    )
    for orders in (0, 2, 5, 9, 14):
        cell = people[people["orders"] == orders]
        (true,) = truth.plan_given_orders(np.array([orders]))
        assert all(near((cell["plan"] == p).mean(), t, len(cell)) for p, t in zip(PLANS, true, strict=True))


def test_the_newsletter_is_for_the_older(people: pd.DataFrame) -> None:
    """By the logistic curve."""
    for age in (20, 30, 45, 55):
        cell = people[people["age"] == age]
        (true,) = truth.newsletter_given(np.array([float(age)]))
        assert near(cell["newsletter"].mean(), true, len(cell))


def test_the_average_order_is_a_function_of_spend_and_orders(people: pd.DataFrame) -> None:
    """And missing exactly where there is no order."""
    some = people[people["orders"] > 0]
    assert np.allclose(some["average_order"], some["spend"] / some["orders"], atol=0.00501)
    assert (people["average_order"].isna() == (people["orders"] == 0)).all()
    assert (people.loc[people["orders"] == 0, "spend"] == 0).all()


def test_spend_is_skewed_as_said(people: pd.DataFrame) -> None:
    """Its true distribution function makes it uniform."""
    from scipy.stats import kstest

    some = people[people["orders"] > 0]
    u = truth.spend_below(some["spend"].to_numpy(), some["orders"].to_numpy(), plan_of(some))
    assert kstest(u, "uniform").pvalue > 1e-4
    assert float(people["spend"].skew()) > 3  # type: ignore[arg-type]


def test_discounts_have_a_point_mass_at_zero(people: pd.DataFrame) -> None:
    """In steps of five percent otherwise."""
    assert np.allclose(people["discount"] * 20, (people["discount"] * 20).round())
    for plan, full in zip(PLANS, truth.FULL_PRICE, strict=True):
        cell = people[people["plan"] == plan]
        assert (cell["discount"] == 0).mean() >= full - 4 * np.sqrt(full * (1 - full) / len(cell))


def test_incomes_are_missing_not_at_random(people: pd.DataFrame) -> None:
    """The rich state theirs less often: the true share by plan holds, and the observed ones are lower."""
    for plan, true in zip(PLANS, truth.income_missing_given_plan(), strict=True):
        cell = people[people["plan"] == plan]
        assert near(cell["income"].isna().mean(), true, len(cell))
    shown = np.log(people.loc[people["plan"] == "free", "income"].dropna())
    assert shown.mean() < truth.INCOME_LOG_MEAN[0] - 0.05


def test_satisfaction_is_missing_at_random_given_the_newsletter(people: pd.DataFrame) -> None:
    """And what is there follows its plan."""
    for reads in (False, True):
        cell = people[people["newsletter"] == reads]
        (true,) = truth.satisfaction_missing_given(np.array([reads]))
        assert near(cell["satisfaction"].isna().mean(), true, len(cell))
    for plan, shares in zip(PLANS, truth.satisfaction_given(), strict=True):
        stated = people.loc[people["plan"] == plan, "satisfaction"].dropna().to_numpy(int)
        assert all(near((stated == k + 1).mean(), t, len(stated)) for k, t in enumerate(shares))


def test_visits_come_after_the_signup(people: pd.DataFrame) -> None:
    """Some at midnight, none in the future."""
    assert (people["last_seen"] >= people["signup"]).all()
    assert (people["last_seen"] <= truth.TODAY).all()
    assert near((people["last_seen"] == people["last_seen"].dt.normalize()).mean(), 0.1, ROWS)
    assert (people["signup"].dt.dayofweek >= 5).mean() < 0.15
