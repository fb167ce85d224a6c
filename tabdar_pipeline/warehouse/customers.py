"""Made-up customers of a made-up shop, from a structural model whose truth is known.

    region        ~ Categorical(REGION_SHARES)
    city          ~ Zipf over the 100 cities of its region
    age           ~ 0.4 N(24, 4) + 0.6 N(47, 11), whole, 18 to 90                             (bimodal)
    plan          ~ Softmax(PLAN_BASE + PLAN_AGE * (age - 40) / 20 + PLAN_ABROAD * abroad)
    newsletter    ~ Bernoulli(sigmoid((age - 45) / 10))
    orders        ~ Poisson(ORDERS[plan])
    spend         = orders * LogNormal(3 + 0.3 * rank(plan), 0.6), in cents                     (skewed)
    average_order = spend / orders, in cents; NULL without orders                (a function of the two)
    discount      = 0 with probability FULL_PRICE[plan], else Beta(2, 5) in steps of 0.05   (point mass)
    income        ~ LogNormal(10.3 + 0.15 * rank(plan), 0.5), in cents
                    missing not at random: P(missing | income) = sigmoid(2 * (log income - 11))
    satisfaction  ~ 1 + Binomial(4, SATISFIED[plan])
                    missing at random: P(missing | newsletter) = 0.08, without newsletter 0.25
    signup        ~ 2018 to 2025, three times as many at the end, a third as many on weekends
    last_seen     = signup + Beta(2, 1) of the time to TODAY; one in ten at midnight (an import)

The functions below are its true conditionals: what a perfect model of the table would know.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

REGIONS = ("north", "south", "east", "west", "abroad")
REGION_SHARES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
CITIES = 100  # in each region
PLANS = ("free", "basic", "plus", "business")
PLAN_BASE = np.array([0.8, 0.5, 0.0, -1.0])
PLAN_AGE = np.array([-1.0, 0.0, 0.6, 0.9])
PLAN_ABROAD = np.array([0.0, 0.0, 0.5, 1.2])
ORDERS = np.array([0.7, 3.0, 7.0, 15.0])  # mean, by plan
FULL_PRICE = np.array([0.95, 0.8, 0.55, 0.3])  # share without discount, by plan
SATISFIED = np.array([0.5, 0.6, 0.7, 0.8])  # by plan
SPEND_LOG_MEAN, SPEND_LOG_SPREAD = 3 + 0.3 * np.arange(4), 0.6  # of one order, by plan
INCOME_LOG_MEAN, INCOME_LOG_SPREAD = 10.3 + 0.15 * np.arange(4), 0.5  # by plan
TODAY = pd.Timestamp("2026-06-30")
AGES = np.arange(18, 91)
YOUNG, YOUNG_AGE, OLDER_AGE = 0.4, (24.0, 4.0), (47.0, 11.0)  # share; mean and spread in years

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


def city_shares() -> Floats:
    """p(city | region), the same in every region: (100,)."""
    weight = 1.0 / np.arange(1, CITIES + 1)
    share: Floats = weight / weight.sum()
    return share


def age_shares() -> Floats:
    """p(age) of the AGES: (73,)."""
    from scipy.stats import norm

    edges = np.concatenate([[-np.inf], AGES[:-1] + 0.5, [np.inf]])
    below = YOUNG * norm.cdf(edges, *YOUNG_AGE) + (1 - YOUNG) * norm.cdf(edges, *OLDER_AGE)
    share: Floats = np.diff(below)
    return share


def plan_given(age: Floats, abroad: NDArray[np.bool_]) -> Floats:
    """p(plan | age, region): (N, 4)."""
    score = PLAN_BASE + np.outer((age - 40) / 20, PLAN_AGE) + np.outer(abroad, PLAN_ABROAD)
    weight = np.exp(score)
    share: Floats = weight / weight.sum(axis=1, keepdims=True)
    return share


def plan_shares() -> Floats:
    """p(plan), over all ages and regions: (4,)."""
    abroad = REGION_SHARES[REGIONS.index("abroad")]
    ages, every = AGES.astype(float), np.ones(len(AGES), bool)
    away, at_home = (age_shares() @ plan_given(ages, it) for it in (every, ~every))
    share: Floats = abroad * away + (1 - abroad) * at_home
    return share


def orders_given(plan: Whole, orders: Whole) -> Floats:
    """p(orders | plan), pairwise: (N,)."""
    from scipy.stats import poisson

    return np.asarray(poisson.pmf(orders, ORDERS[plan]), dtype=float)


def plan_given_orders(orders: Whole) -> Floats:
    """p(plan | orders), against the arrow of the model: (N, 4)."""
    joint = np.stack([orders_given(np.full(len(orders), plan), orders) for plan in range(4)], axis=1)
    joint *= plan_shares()
    share: Floats = joint / joint.sum(axis=1, keepdims=True)
    return share


def newsletter_given(age: Floats) -> Floats:
    """P(newsletter | age): (N,)."""
    return _sigmoid((age - 45) / 10)


def spend_below(spend: Floats, orders: Whole, plan: Whole) -> Floats:
    """P(spend is at most so much | orders, plan), for orders above 0: (N,)."""
    from scipy.stats import norm

    share = norm.cdf((np.log(spend / orders) - SPEND_LOG_MEAN[plan]) / SPEND_LOG_SPREAD)
    return np.asarray(share, dtype=float)


def income_missing_given(income: Floats) -> Floats:
    """P(income is missing | income): (N,)."""
    return _sigmoid((np.log(income) - 11) * 2)


def income_missing_given_plan() -> Floats:
    """P(income is missing | plan): (4,), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    income = np.exp(INCOME_LOG_MEAN[:, None] + INCOME_LOG_SPREAD * nodes)
    share: Floats = income_missing_given(income) @ weights / weights.sum()
    return share


def satisfaction_given() -> Floats:
    """p(satisfaction is 1 to 5 | plan): (4, 5)."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(5), 4, SATISFIED[:, None]), dtype=float)


def satisfaction_missing_given(newsletter: NDArray[np.bool_]) -> Floats:
    """P(satisfaction is missing | newsletter): (N,)."""
    return np.where(newsletter, 0.08, 0.25)


def customers(rows: int, seed: int) -> pd.DataFrame:
    """So many made-up customers."""
    rng = np.random.default_rng(seed)
    region = rng.choice(len(REGIONS), rows, p=REGION_SHARES)
    city = rng.choice(CITIES, rows, p=city_shares())
    age = _ages(rows, rng)
    plan = _drawn(plan_given(age, region == REGIONS.index("abroad")), rng)
    signup, last_seen = _dates(rows, rng)
    return pd.DataFrame(
        {
            "customer_id": [f"C-{i:06d}" for i in rng.permutation(rows) + 1],
            "region": np.array(REGIONS)[region],
            "city": [f"{REGIONS[r]} town {c + 1:03d}" for r, c in zip(region, city, strict=True)],
            "age": age.astype(np.int16),
            "plan": np.array(PLANS)[plan],
            **_purchases(plan, rng),
            **_answers(age, plan, rng),
            "signup": signup,
            "last_seen": last_seen,
        }
    )


def _ages(rows: int, rng: np.random.Generator) -> Floats:
    young, older = rng.normal(*YOUNG_AGE, rows), rng.normal(*OLDER_AGE, rows)
    ages: Floats = np.clip(np.rint(np.where(rng.random(rows) < YOUNG, young, older)), AGES[0], AGES[-1])
    return ages


def _purchases(plan: Whole, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    rows = len(plan)
    orders = rng.poisson(ORDERS[plan])
    spend = np.round(orders * rng.lognormal(SPEND_LOG_MEAN[plan], SPEND_LOG_SPREAD), 2)
    average = np.divide(spend, orders, out=np.full(rows, np.nan), where=orders > 0)
    reduced = np.rint(rng.beta(2, 5, rows) * 20) / 20
    discount = np.where(rng.random(rows) < FULL_PRICE[plan], 0.0, reduced)
    return {
        "orders": orders.astype(np.int32),
        "spend": spend,
        "average_order": np.round(average, 2),
        "discount": discount,
    }


def _answers(age: Floats, plan: Whole, rng: np.random.Generator) -> dict[str, object]:
    rows = len(plan)
    newsletter = rng.random(rows) < newsletter_given(age)
    income = np.round(rng.lognormal(INCOME_LOG_MEAN[plan], INCOME_LOG_SPREAD), 2)
    income[rng.random(rows) < income_missing_given(income)] = np.nan
    satisfaction = pd.array(1 + rng.binomial(4, SATISFIED[plan]), "Int8")
    satisfaction[rng.random(rows) < satisfaction_missing_given(newsletter)] = pd.NA
    return {"newsletter": newsletter, "income": income, "satisfaction": satisfaction}


def _drawn(shares: Floats, rng: np.random.Generator) -> Whole:
    """One category a row of (N, K) shares: (N,)."""
    drawn: Whole = (shares.cumsum(axis=1)[:, :-1] < rng.random((len(shares), 1))).sum(axis=1)
    return drawn


def _dates(rows: int, rng: np.random.Generator) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    days = pd.date_range("2018-01-01", "2025-12-31", freq="D")
    weight = np.linspace(1, 3, len(days)) * np.where(days.dayofweek < 5, 1.0, 1 / 3)
    signup = days[rng.choice(len(days), rows, p=weight / weight.sum())]
    seconds = np.floor(rng.beta(2, 1, rows) * (TODAY - signup).total_seconds().to_numpy())
    last_seen = signup + pd.to_timedelta(seconds, unit="s")
    imported = rng.random(rows) < 0.1
    return signup, last_seen.where(~imported, last_seen.normalize())


def _sigmoid(x: Floats) -> Floats:
    share: Floats = 1 / (1 + np.exp(-x))
    return share
