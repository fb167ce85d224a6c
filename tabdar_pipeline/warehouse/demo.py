"""The demo warehouse: crm.customers, made-up people from a structural model whose truth is known.

    region        ~ Categorical(REGION_SHARES)
    city          ~ Zipf over the 100 cities of its region
    age           ~ 0.4 N(24, 4) + 0.6 N(47, 11), whole, 18 to 90
    plan          ~ Softmax(PLAN_BASE + PLAN_AGE * (age - 40) / 20 + PLAN_ABROAD * abroad)
    newsletter    ~ Bernoulli(sigmoid((age - 45) / 10))
    orders        ~ Poisson(ORDERS[plan])
    spend         = orders * LogNormal(3 + 0.3 * rank(plan), 0.6), two decimals
    average_order = spend / orders, two decimals; NULL without orders
    discount      = 0 with probability FULL_PRICE[plan], else Beta(2, 5) in steps of 0.05
    income        ~ LogNormal(10.3 + 0.15 * rank(plan), 0.5); missing not at random:
                    P(missing | income) = sigmoid((log income - 11) * 2)
    satisfaction  ~ 1 + Binomial(4, 0.5 + 0.1 * rank(plan)); missing at random, 15 %
    signup        ~ 2018 to 2025, more of late, a third as many on weekends
    last_seen     = signup + Exponential(400 days); one in ten at midnight (an import)
"""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

TABLE = "crm.customers"
REGIONS = ("north", "south", "east", "west", "abroad")
REGION_SHARES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
PLANS = ("free", "basic", "plus", "business")
PLAN_BASE = np.array([0.8, 0.5, 0.0, -1.0])
PLAN_AGE = np.array([-1.0, 0.0, 0.6, 0.9])
PLAN_ABROAD = np.array([0.0, 0.0, 0.5, 1.2])
ORDERS = np.array([0.7, 3.0, 7.0, 15.0])
FULL_PRICE = np.array([0.95, 0.8, 0.55, 0.3])
CITIES = 100  # in each region

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_DDL = """
CREATE SCHEMA crm;
CREATE TABLE crm.customers (
    customer_id VARCHAR PRIMARY KEY, region ENUM ('north', 'south', 'east', 'west', 'abroad'),
    city VARCHAR, age SMALLINT, plan ENUM ('free', 'basic', 'plus', 'business'),
    newsletter BOOLEAN, orders INTEGER, spend DECIMAL(12, 2), average_order DECIMAL(12, 2),
    discount DOUBLE, income DECIMAL(12, 2), satisfaction TINYINT, signup DATE, last_seen TIMESTAMP
);
COMMENT ON TABLE crm.customers IS 'Made-up customers of a made-up shop: no person is behind any row.';
"""


def plan_given(age: Floats, abroad: NDArray[np.bool_]) -> Floats:
    """True p(plan | age, region): (N, 4)."""
    score = PLAN_BASE + np.outer((age - 40) / 20, PLAN_AGE) + np.outer(abroad, PLAN_ABROAD)
    weight = np.exp(score)
    share: Floats = weight / weight.sum(axis=1, keepdims=True)
    return share


def newsletter_given(age: Floats) -> Floats:
    """True P(newsletter | age)."""
    return _sigmoid((age - 45) / 10)


def income_missing_given(income: Floats) -> Floats:
    """True P(income is missing | income)."""
    return _sigmoid((np.log(income) - 11) * 2)


def city_given() -> Floats:
    """True p(city | region), the same Zipf in every region: (100,)."""
    weight = 1.0 / np.arange(1, CITIES + 1)
    share: Floats = weight / weight.sum()
    return share


def customers(rows: int, seed: int) -> pd.DataFrame:
    """So many made-up customers."""
    rng = np.random.default_rng(seed)
    region = rng.choice(len(REGIONS), rows, p=REGION_SHARES)
    city = rng.choice(CITIES, rows, p=city_given())
    young = rng.random(rows) < 0.4
    age = np.clip(np.rint(np.where(young, rng.normal(24, 4, rows), rng.normal(47, 11, rows))), 18, 90)
    shares = plan_given(age, region == REGIONS.index("abroad"))
    plan = (shares.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    orders = rng.poisson(ORDERS[plan])
    spend = np.round(orders * rng.lognormal(3 + 0.3 * plan, 0.6), 2)
    discount = np.where(
        rng.random(rows) < FULL_PRICE[plan], 0.0, np.rint(rng.beta(2, 5, rows) * 20) / 20
    )
    income = np.round(rng.lognormal(10.3 + 0.15 * plan, 0.5), 2)
    income[rng.random(rows) < income_missing_given(income)] = np.nan
    satisfaction = pd.array(1 + rng.binomial(4, np.minimum(0.5 + 0.1 * plan, 0.9)), "Int8")
    satisfaction[rng.random(rows) < 0.15] = pd.NA
    signup, last_seen = _dates(rows, rng)
    return pd.DataFrame(
        {
            "customer_id": [f"C-{i:06d}" for i in rng.permutation(rows) + 1],
            "region": np.array(REGIONS)[region],
            "city": [f"{REGIONS[r]} town {c + 1:03d}" for r, c in zip(region, city, strict=True)],
            "age": age.astype(np.int16),
            "plan": np.array(PLANS)[plan],
            "newsletter": rng.random(rows) < newsletter_given(age),
            "orders": orders.astype(np.int32),
            "spend": spend,
            "average_order": np.round(np.divide(spend, orders, out=np.full(rows, np.nan), where=orders > 0), 2),
            "discount": discount,
            "income": income,
            "satisfaction": satisfaction,
            "signup": signup,
            "last_seen": last_seen,
        }
    )


def build_demo(path: Path, rows: int = 20_000, seed: int = 0) -> None:
    """Write the demo warehouse, whole or not at all; one that is there already is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with duckdb.connect(str(partial)) as connection:
        connection.execute(_DDL)
        connection.register("made_up", customers(rows, seed))
        connection.execute("INSERT INTO crm.customers SELECT * FROM made_up")
        connection.unregister("made_up")
    partial.replace(path)


def _dates(rows: int, rng: np.random.Generator) -> tuple[pd.DatetimeIndex, pd.Series]:
    days = pd.date_range("2018-01-01", "2025-12-31", freq="D")
    weight = np.linspace(1, 3, len(days)) * np.where(days.dayofweek < 5, 1.0, 1 / 3)
    signup = days[rng.choice(len(days), rows, p=weight / weight.sum())]
    seconds = np.rint(rng.exponential(400 * 86_400, rows))
    last_seen = pd.Series(signup) + pd.to_timedelta(seconds, unit="s")
    imported = rng.random(rows) < 0.1
    return signup, last_seen.where(~imported, last_seen.dt.normalize())


def _sigmoid(x: Floats) -> Floats:
    share: Floats = 1 / (1 + np.exp(-x))
    return share
