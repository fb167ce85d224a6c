"""Tables with a known truth: what must hold in every row, and how values fall."""

import numpy as np
import pyarrow as pa

DAY_S = 86_400
ZONES = 60


def taxi(rows: int, seed: int = 0) -> pa.Table:
    """Trips: dropoff after pickup, total = fare + tip + tolls, a borough a zone, no tip in cash, fields missing together."""
    rng = np.random.default_rng(seed)
    day = rng.choice(366, rows, p=_shares(np.array([1, 1, 1, 1.1, 1.3, 1.5, 0.8])[np.arange(366) % 7]))
    hour = np.where(rng.random(rows) < 0.4, rng.normal(8.5, 1.2, rows), rng.normal(18, 2.5, rows)) % 24
    pickup = np.datetime64("2024-01-01T00:00:00", "s") + day * DAY_S + (hour * 3600).astype(int)
    minutes = rng.lognormal(2.5, 0.6, rows)
    zone = rng.choice(ZONES, rows, p=_shares(1 / np.arange(1, ZONES + 1)))
    payment = rng.choice(["card", "cash", "dispute"], rows, p=[0.7, 0.28, 0.02])
    fare = np.round(3 + 1.1 * minutes + rng.exponential(3, rows), 1)
    tip = np.where(payment == "card", np.round(fare * rng.choice([0, 0.15, 0.2, 0.25], rows), 2), 0.0)
    tolls = np.where(rng.random(rows) < 0.06, 6.94, 0.0)
    lost = rng.random(rows) < np.where(payment == "cash", 0.12, 0.02)
    money = {"fare": fare, "tip": tip, "tolls": tolls, "total": np.round(fare + tip + tolls, 2)}
    return pa.table(
        {
            "trip_id": [f"T-{i:08d}" for i in rng.permutation(rows)],
            "pickup": pa.array(pickup.astype("datetime64[us]")),
            "dropoff": pa.array((pickup + (minutes * 60).astype(int) + 1).astype("datetime64[us]")),
            **{name: pa.array(it).cast(pa.decimal128(10, 2)) for name, it in money.items()},
            "payment": payment,
            "zone": [f"zone {z:03d}" for z in zone],
            "borough": [f"borough {z % 5}" for z in zone],
            "passengers": pa.array(rng.integers(1, 5, rows).astype(np.int8), mask=lost),
            "rate": pa.array(rng.choice(["standard", "airport"], rows, p=[0.93, 0.07]), mask=lost),
            "rating": pa.array(rng.integers(1, 6, rows).astype(np.int8), mask=payment == "cash"),
        }
    )


def orders(rows: int, seed: int = 0) -> pa.Table:
    """Dates and amounts that do not fall evenly: working days, month ends, a shop's days, hours, .99 and round hundreds."""
    rng = np.random.default_rng(seed)
    first, days = np.datetime64("2010-01-01"), 5110
    every = first + np.arange(days)
    weekday = (every.astype(int) + 3) % 7
    month = every.astype("datetime64[M]")
    last = (month + 1).astype("datetime64[D]") - 1 == every
    christmas = (month.astype(int) % 12 == 11) & ((every - month.astype("datetime64[D]")).astype(int) == 24)
    moment = every[rng.integers(0, days, rows)].astype("datetime64[s]") + (
        np.clip(rng.normal(13, 3, rows), 0, 23.9) * 3600
    ).astype(int)
    midnight = moment.astype("datetime64[D]").astype("datetime64[s]")
    price = rng.integers(1, 400, rows) + rng.choice([0.99, 0.95], rows, p=[0.8, 0.2])
    return pa.table(
        {
            "ordered": pa.array(rng.choice(every[weekday < 5], rows)),
            "invoiced": pa.array(
                np.where(rng.random(rows) < 0.7, rng.choice(every[last], rows), rng.choice(every, rows))
            ),
            "sold": pa.array(rng.choice(every[(weekday < 6) & ~christmas], rows)),
            "logged": pa.array(np.where(rng.random(rows) < 0.3, midnight, moment).astype("datetime64[us]")),
            "price": pa.array(np.round(price, 2)).cast(pa.decimal128(10, 2)),
            "weight": np.round(rng.gamma(3, 40, rows) * 20) / 20,
            "budget": 100 * np.round(rng.lognormal(6, 1, rows)).astype(int),
            "region": rng.choice(["north", "south", "east", "west"], rows),
        }
    )


def many_levels(rows: int, levels: int, seed: int = 0) -> pa.Table:
    """A column of so many levels, each of ten rows or more, and others that follow from it, or do not."""
    rng = np.random.default_rng(seed)
    level = np.r_[np.repeat(np.arange(levels), 10), rng.integers(0, levels, rows - 10 * levels)]
    rng.shuffle(level)
    day = np.datetime64("2023-01-01") + rng.integers(0, 700, rows)
    return pa.table(
        {
            "product": [f"SKU {i:05d}" for i in level],
            "category": [f"category {i % 40}" for i in level],
            "quantity": rng.poisson(3, rows),
            "price": np.round(rng.lognormal(3, 1, rows), 2),
            "day": pa.array(day.astype("datetime64[D]")),
        }
    )


def _shares(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()
