"""Small tables and models that many tests share."""

import datetime as dt
import os
import shutil
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several threads wait on each other where cores are shared

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings

from tabdar_pipeline.synthesizer import TabDAR

LONGEST = ("test_daemon", "test_browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, and mostly wait: other workers run the rest beside them."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


# The same examples in every run, so that a change is judged by what it changed; `search` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=300, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)
BENCHMARKS = Path(__file__).parents[2] / "shared" / "benchmarks"

LENIENT = {  # a policy that a table of any model meets
    "shape_error": 100,
    "trend_error": 100,
    "c2st_boosted": 0.5,
    "copies": 1,
    "dcr_share": 0.5,
    **dict.fromkeys(
        (
            "near_copies",
            "distance_ratio",
            "singling_out",
            "linkability",
            "membership",
            "inference",
            "likelihood",
        ),
        1,
    ),
}


def mixed_table(rows: int = 600, seed: int = 0) -> pa.Table:
    """Every kind of column: key, category, whole number, decimal, dense float, dates, missing, constant, text."""
    rng = np.random.default_rng(seed)
    level = rng.integers(0, 3, rows)
    amount = np.where(rng.random(rows) < 0.4, 0.0, np.round(rng.lognormal(3, 1, rows), 2))
    score = rng.normal(level, 0.3)
    days = np.datetime64("2020-01-01") + rng.integers(0, 900, rows)
    moments = np.datetime64("2024-01-01T00:00:00") + rng.integers(0, 10_000_000, rows).astype(
        "timedelta64[s]"
    )
    return pa.table(
        {
            "customer_id": [f"K-{i:05d}" for i in rng.permutation(rows)],
            "level": pa.array(np.array(["low", "mid", "high"])[level]).dictionary_encode(),
            "visits": pa.array(rng.poisson(3, rows).astype(np.int16)),
            "amount": pa.array(amount).cast(pa.decimal128(12, 2)),
            "score": pa.array(score),
            "active": pa.array(rng.random(rows) < 0.7),
            "joined": pa.array(days.astype("datetime64[D]")),
            "seen": pa.array(moments.astype("datetime64[us]")),
            "note": [f"call {rng.integers(1000, 9999)} back" for _ in range(rows)],
            "rating": pa.array([None if rng.random() < 0.2 else int(x) for x in 1 + level], pa.int8()),
            "country": ["NL"] * rows,
            "nothing": pa.nulls(rows, pa.int32()),
            'odd "name". select': pa.array([dt.time(int(h)) for h in rng.integers(8, 18, rows)]),
        }
    )


@pytest.fixture(scope="session")
def table() -> pa.Table:
    """A small table of every kind of column."""
    return mixed_table()


@pytest.fixture(scope="session")
def model(table: pa.Table) -> TabDAR:
    """A model of it, fitted for a moment."""
    return TabDAR.fit(table, name="crm.mixed", epochs=10, seed=3)


@pytest.fixture(scope="session")
def saved(model: TabDAR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model on disk, with its ONNX graphs."""
    folder = tmp_path_factory.mktemp("models") / "mixed"
    model.save(folder)
    model.export()
    return folder


@pytest.fixture(scope="session")
def benchmarks() -> Path:
    """The benchmark tables, where they are."""
    if not (BENCHMARKS / "judge.py").is_file():
        pytest.skip(f"the benchmark tables are not at {BENCHMARKS}")
    return BENCHMARKS


@pytest.fixture(scope="session")
def judge_python() -> str:
    """An interpreter with what the judge needs."""
    if "JUDGE_PYTHON" not in os.environ:
        pytest.skip("JUDGE_PYTHON names no interpreter with scikit-learn, scipy, pyarrow, xgboost")
    return os.environ["JUDGE_PYTHON"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()
