"""Training: it learns, keeps its budget, repeats itself, and goes on where it stopped."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import mixed_table
from dagster._core.errors import DagsterExecutionInterruptedError

from tabdar_pipeline.codec.number import NumberCodec
from tabdar_pipeline.errors import LimitExceeded, SourceError, TrainingError, UsageError
from tabdar_pipeline.fitting import PAPER, Design
from tabdar_pipeline.model import resume
from tabdar_pipeline.model.training import EpochRecord, Learner
from tabdar_pipeline.synthesizer import TabDAR


def weights(model: TabDAR) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def dependent(rows: int = 3000) -> pa.Table:
    """b copies a in nine rows of ten; x lies near a."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, rows)
    b = np.where(rng.random(rows) < 0.9, a, rng.integers(0, 4, rows))
    return pa.table({"a": a.astype(str), "b": b.astype(str), "x": a + rng.normal(0, 0.1, rows)})


def test_dependencies_are_learned() -> None:
    """After some epochs, b equals a as often as in the data, and x follows a."""
    table = dependent()
    made = TabDAR.fit(table, epochs=20, seed=0).sample(4000, seed=1, engine="torch")
    agree = (made["a"] == made["b"]).mean()
    x = made.groupby("a")["x"].mean()

    assert abs(agree - 0.925) < 0.05
    assert all(abs(x[str(k)] - k) < 0.15 for k in range(4))


def test_two_steps_of_the_solver_come_nearer_than_one() -> None:
    """To twenty, where a number is all the diffusion's."""
    model = TabDAR.fit(dependent(), epochs=10, seed=0, design=PAPER)
    exact, balanced, fast = (
        model.sample(500, seed=1, quality=quality, engine="torch")["x"].to_numpy()
        for quality in ("exact", "balanced", "fast")
    )

    assert 0 < abs(balanced - exact).mean() < abs(fast - exact).mean() < 0.5 * exact.std()


def test_the_same_seed_gives_the_same_weights() -> None:
    """Bit for bit, on one machine with one number of threads."""
    table = mixed_table(300)
    one, two, other = (TabDAR.fit(table, epochs=2, seed=s, threads=1) for s in (1, 1, 2))

    assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(two).values(), strict=True))
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("cut_off", [KeyboardInterrupt, DagsterExecutionInterruptedError, LimitExceeded])
def test_training_goes_on_where_it_was_cut_off(tmp_path: Path, cut_off: type[BaseException]) -> None:
    """By ^C, by Dagster or by a limit, before a minute is over: it ends at the weights of an uninterrupted run."""
    table = mixed_table(300)
    whole = TabDAR.fit(table, epochs=6, seed=1, threads=1)
    steps = []

    def cut(record: EpochRecord) -> None:
        if record.budget > 0.5:
            raise cut_off("here")

    with pytest.raises(cut_off):
        TabDAR.fit(table, epochs=6, seed=1, threads=1, resume=tmp_path, progress=cut)
    assert any(tmp_path.iterdir())
    resumed = TabDAR.fit(
        table, epochs=6, seed=1, threads=1, resume=tmp_path, progress=lambda it: steps.append(it.budget)
    )

    assert min(steps) > 0.5
    assert all(
        torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True)
    )
    assert not any(tmp_path.iterdir())


def test_training_is_kept_between_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long budget has hours between them; the state is at most a minute old."""
    monkeypatch.setattr("tabdar_pipeline.fitting.KEEP_EVERY_S", 0.0)
    kept: list[set[str]] = []
    save = resume.save

    def told(it: Learner, folder: Path, key: str) -> None:
        save(it, folder, key)
        kept.append({path.name for path in folder.iterdir()})

    monkeypatch.setattr(resume, "save", told)
    model = TabDAR.fit(dependent(), epochs=2, seed=1, threads=1, resume=tmp_path)

    assert len(kept) == model.history[-1].step > len(model.history)
    assert kept[2] == {"3-training.safetensors", "training.json"}


def test_nothing_goes_on_from_a_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept on the way to it goes, too."""
    monkeypatch.setattr("tabdar_pipeline.fitting.KEEP_EVERY_S", 0.0)

    def diverge(record: EpochRecord) -> None:
        if record.budget > 0.5:
            assert any(tmp_path.iterdir())
            raise TrainingError("the validation loss must be finite, however it is nan.")

    with pytest.raises(TrainingError):
        TabDAR.fit(mixed_table(300), epochs=6, seed=1, threads=1, resume=tmp_path, progress=diverge)
    assert not any(tmp_path.iterdir())


def test_a_state_that_cannot_be_kept_hides_no_error(tmp_path: Path) -> None:
    """It stays what it is, and says what was lost."""
    (tmp_path / "file").touch()

    def cut(record: EpochRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as told:
        TabDAR.fit(dependent(100), epochs=2, resume=tmp_path / "file" / "training", progress=cut)
    assert "could not be kept: the state of training must be kept in" in told.value.__notes__[0]


def test_a_budget_of_seconds_is_kept() -> None:
    """From call to best weights."""
    started = time.perf_counter()
    model = TabDAR.fit(dependent(), seconds=3, seed=0)

    assert 2.5 < time.perf_counter() - started < 6
    assert model.history[-1].budget == 1.0


def test_a_long_budget_trains_a_large_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what begins with it is as large, whatever its budget."""
    monkeypatch.setattr("tabdar_pipeline.model.presets.CELL_SECONDS", 1e-6)
    large = TabDAR.fit(dependent(5000), seconds=3, seed=0)
    next_day = TabDAR.fit(dependent(5000), epochs=1, seed=0, warm=large)
    few_rows, epochs = TabDAR.fit(dependent(500), seconds=1), TabDAR.fit(dependent(5000), epochs=1)

    assert large.settings["preset"] == next_day.settings["preset"] == "large"
    assert large.settings["train"]["dropout"] > 0
    assert few_rows.settings["preset"] == epochs.settings["preset"] == "small"


def test_a_budget_that_is_over_before_the_first_step_is_refused() -> None:
    """An untrained model is none."""
    with pytest.raises(
        TrainingError, match=r"however its budget of 0\.001 seconds was over before the first"
    ):
        TabDAR.fit(dependent(), seconds=0.001)


def test_missing_cells_are_neither_imputed_nor_a_reason_to_fail() -> None:
    """Missingness itself is generated, with its dependence on other columns."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 3000)
    value = np.where(rng.random(3000) < np.where(group == 1, 0.8, 0.1), np.nan, rng.normal(size=3000))
    table = pa.table({"group": group.astype(str), "value": pa.array(value, from_pandas=True)})
    made = TabDAR.fit(table, epochs=20, seed=0).sample(4000, seed=0, engine="torch")
    missing = made["value"].isna().groupby(made["group"]).mean()

    assert abs(missing["1"] - 0.8) < 0.08
    assert abs(missing["0"] - 0.1) < 0.08


@pytest.mark.parametrize("design", [PAPER, Design("mixed")], ids=["paper", "mixed"])
def test_the_forms_of_the_mask_train_and_sample(design: Design) -> None:
    """The paper's pure form among them: one diffusion a number, and no values or bins before it."""
    model = TabDAR.fit(dependent(1500), epochs=15, seed=0, design=design)
    made = model.sample(2000, seed=0, engine="torch")
    numbers = [codec.levels for codec in model.codec.columns if isinstance(codec, NumberCodec)]

    assert model.settings["train"]["reveal"] == design.reveal
    assert (max(numbers) == 1) == (design is PAPER)
    assert (made["a"] == made["b"]).mean() > 0.75


def test_what_cannot_be_learned_is_refused() -> None:
    """Before any work, by name."""
    with pytest.raises(SourceError, match="at least 2 rows"):
        TabDAR.fit(pa.table({"a": [1]}))
    with pytest.raises(SourceError, match="at least 2 rows"):
        TabDAR.fit(pa.table({"a": pa.array([], pa.int64())}))
    with pytest.raises(UsageError, match="seconds or epochs"):
        TabDAR.fit(dependent(50), seconds=1, epochs=1)
    with pytest.raises(UsageError, match="above 0"):
        TabDAR.fit(dependent(50), seconds=-1)


def test_tiny_and_odd_tables_work() -> None:
    """Ten rows, one column, duplicated rows, strange names."""
    for table in (
        pa.table({"a": ["x", "y"] * 5}),
        pa.table({"n": list(range(10))}),
        pa.table({'q"uo.te d': [1.5, 2.5, 1.5, 2.5, 9.0], "select": [True, False, True, False, True]}),
    ):
        made = TabDAR.fit(table, epochs=1).sample(7, format="arrow", engine="torch")
        assert made.schema.remove_metadata() == table.schema.remove_metadata()  # type: ignore[union-attr]
        assert made.num_rows == 7  # type: ignore[union-attr]


def test_a_model_begins_where_an_earlier_one_ended() -> None:
    """Its first steps on new rows of the same table find what the earlier one had learned, and keep it."""
    earlier, more = TabDAR.fit(dependent(1500), epochs=4, seed=0), dependent(1500)
    cold, warm = (TabDAR.fit(more, epochs=1, seed=1, warm=start) for start in (None, earlier))
    losses = [[record.validation_loss for record in model.history] for model in (cold, warm)]

    assert losses[1][0] < losses[0][0] - 1
    assert min(losses[1]) < min(losses[0]) + 0.05
    assert warm.settings["warm"] == earlier.fingerprint
    assert warm.codec.to_json() == earlier.codec.to_json()
    with pytest.raises(UsageError, match=r"others: 'a'"):
        TabDAR.fit(more.drop_columns(["a"]), epochs=1, warm=earlier)


def test_training_stops_where_nothing_more_is_learned() -> None:
    """Rows without structure teach margins only; what follows would be memory."""
    rng = np.random.default_rng(0)
    table = pa.table({k: rng.integers(0, 3, 200).astype(str) for k in "abcd"})
    model = TabDAR.fit(table, epochs=300, seed=0)

    assert model.history[-1].budget < 1
    assert model.stopped_early is not None
    assert "the validation loss was lowest at" in model.stopped_early


def test_a_run_that_goes_on_learning_uses_its_budget() -> None:
    """And has nothing to say about stopping."""
    model = TabDAR.fit(dependent(), epochs=3, seed=0)

    assert model.history[-1].budget == 1
    assert model.stopped_early is None


def test_fewer_rows_than_columns_are_refused_before_any_work() -> None:
    """Their dependence would be chance; the message says how many there are of each."""
    table = pa.table({f"c{k}": [0, 1, 2] for k in range(12)})

    with pytest.raises(SourceError, match=r"however it has 3 rows and 12 columns\. Add rows"):
        TabDAR.fit(table, epochs=1)
