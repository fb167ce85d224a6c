"""Dates, times and numbers that lie densely, but not evenly: what is frequent stays so, and what never occurs is never made."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline.codec.calendar import Calendar
from tabdar_pipeline.codec.number import Cells, NumberCodec, NumberSettings

DAYS = np.datetime64("2010-01-01") + np.arange(5110)
WEEKDAY = (DAYS.astype(int) + 3) % 7
MONTH = DAYS.astype("datetime64[M]")
LAST = (MONTH + 1).astype("datetime64[D]") - 1 == DAYS
CHRISTMAS = (MONTH.astype(int) % 12 == 11) & ((DAYS - MONTH.astype("datetime64[D]")).astype(int) == 24)


def remade(column: pa.Array, rows: int = 20_000, shared: int = 5) -> np.ndarray:
    """What a codec of this column, read from JSON, makes of codes as frequent as they are and residuals at random."""
    fitted = NumberCodec.fit(column, NumberSettings(shared=shared))
    codec = NumberCodec.from_json(json.loads(json.dumps(fitted.to_json())))
    rng = np.random.default_rng(1)
    codes = rng.choice(codec.encode(column, rng).codes, rows)
    return np.asarray(
        codec.decode(Cells(codes, rng.normal(size=rows)), column.type).to_numpy(zero_copy_only=False)
    )


@pytest.mark.parametrize("rows", [1000, 5000])
def test_days_on_which_nothing_happens_stay_empty(rows: int) -> None:
    """Weekends without orders; a shop closed on Sundays and on Christmas Day, as far as so few rows tell."""
    rng = np.random.default_rng(0)
    orders = remade(pa.array(rng.choice(DAYS[WEEKDAY < 5], rows)))
    sales = remade(pa.array(rng.choice(DAYS[(WEEKDAY < 6) & ~CHRISTMAS], 10 * rows)))

    assert np.isin(orders, DAYS[WEEKDAY < 5]).all()
    assert np.isin(sales, DAYS[WEEKDAY < 6]).all()
    assert np.isin(sales, DAYS[CHRISTMAS]).mean() == 0


def test_month_ends_are_as_frequent_as_they_were() -> None:
    """Seven invoices of ten."""
    rng = np.random.default_rng(0)
    days = np.where(rng.random(5000) < 0.7, rng.choice(DAYS[LAST], 5000), rng.choice(DAYS, 5000))

    assert abs(np.isin(remade(pa.array(days)), DAYS[LAST]).mean() - np.isin(days, DAYS[LAST]).mean()) < 0.08


@pytest.mark.parametrize("rows", [1000, 20_000])
def test_midnight_and_office_hours_are_kept(rows: int) -> None:
    """Three of ten timestamps are at midnight; the others lie around noon."""
    rng = np.random.default_rng(0)
    day = rng.choice(DAYS[:1500], rows).astype("datetime64[us]")
    seconds = (np.clip(rng.normal(13, 2, rows), 0, 23) * 3600).astype(int)
    times = day + np.where(rng.random(rows) < 0.3, 0, seconds) * np.timedelta64(1_000_000, "us")
    made = remade(pa.array(times))
    hour = (made - made.astype("datetime64[D]")) / np.timedelta64(1, "h")

    assert 0.25 < (hour == 0).mean() < 0.38
    assert abs(hour[hour > 0].mean() - 13) < 0.3 and hour[hour > 0].std() < 2.6


def test_prices_and_numbers_that_are_dates_keep_their_last_digits() -> None:
    """.99 and .95, no other cents; days of a month and months of a year."""
    rng = np.random.default_rng(0)
    prices = remade(pa.array(np.round(rng.integers(0, 500, 600) + rng.choice([0.99, 0.95], 600), 2)))
    days = rng.choice(DAYS, 6000).astype(str)
    keys = remade(pa.array(np.array([int(day.replace("-", "")) for day in days])))

    assert np.isin(np.rint(prices * 100) % 100, (99, 95)).mean() > 0.97
    assert ((keys % 100 >= 1) & (keys % 100 <= 31)).all()


@pytest.mark.parametrize("draw", ["lognormal", "exponential", "normal", "uniform", "moments", "days"])
def test_what_lies_evenly_is_left_as_it_is(draw: str) -> None:
    """A smooth distribution has no rhythm, however skewed."""
    rng = np.random.default_rng(0)
    columns = {
        "lognormal": rng.lognormal(6, 1, 5000).astype(int),
        "exponential": rng.exponential(300, 5000).astype(int),
        "normal": rng.normal(5000, 800, 5000).astype(int),
        "uniform": rng.integers(0, 100_000, 5000),
        "moments": np.datetime64("2024-01-01", "us") + rng.integers(0, 366 * 86400 * 10**6, 5000),
        "days": rng.choice(DAYS, 5000),
    }
    codec = NumberCodec.fit(pa.array(columns[draw]), NumberSettings())

    assert codec.quantiles is not None and codec.quantiles.rhythm is None


@given(st.integers(0, 10_000), st.sampled_from(["D", "s"]))
def test_what_is_encoded_with_a_rhythm_comes_back(seed: int, unit: str) -> None:
    """Each cell as itself, where no row needs another beside it."""
    rng = np.random.default_rng(seed)
    days = rng.choice(DAYS[WEEKDAY < 5], 800)
    times = days if unit == "D" else days.astype("datetime64[s]") + rng.integers(8, 18, 800) * 3600
    column = pa.array(times)
    codec = NumberCodec.fit(column, NumberSettings(shared=1, atoms=0, atom_share=1.0))

    assert codec.quantiles is not None and codec.quantiles.rhythm is not None
    assert codec.decode(codec.encode(column, rng), column.type).equals(column)


def test_later_rows_beyond_the_calendar_are_encoded() -> None:
    """Dates before and after those that were learned count as the outermost."""
    column = pa.array(np.random.default_rng(0).choice(DAYS[WEEKDAY < 5], 800))
    codec = NumberCodec.fit(column, NumberSettings())
    beyond = pa.array(np.array(["1950-01-01", "2100-01-01"], "datetime64[D]"))
    ends = codec.decode(codec.encode(beyond, None), column.type).to_pylist()

    assert ends[0] < DAYS[400] and ends[1] > DAYS[-400]


def test_a_calendar_of_even_days_is_none() -> None:
    """Nor is one of two weeks."""
    days = DAYS.astype(np.int64)

    assert Calendar.fit(days, np.full(len(days), 3.0), 5) is None
    assert Calendar.fit(days[:14], np.arange(14.0), 5) is None
