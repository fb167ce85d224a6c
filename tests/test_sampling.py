"""The any-order loop, without any model: what it draws, what it leaves alone."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tabdar_pipeline.sampling.complete import complete, marginals, pick
from tabdar_pipeline.sampling.draws import Draws
from tabdar_pipeline.sampling.engine import Cells, Condition
from tabdar_pipeline.sampling.heun import heun
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Memory, Shelf
from tabdar_pipeline.sampling.schedule import angles
from tabdar_pipeline.sampling.stopwatch import Stopwatch
from tabdar_pipeline.sampling.ties import Tie

NONE = np.zeros((500, 3), bool)


class FakeEngine:
    """Every code is as likely as its number plus one; residuals are the noise."""

    offsets = np.array([0, 3, 4, 6])
    continuous = np.array([False, False, True, True, False, False])
    reveal = "cached"
    workers = 1
    watch = Stopwatch()

    def __init__(self) -> None:
        self.revealed: list[list[int]] = []
        self.asked: list[tuple[list[list[int]], int]] = []  # what was revealed before, and what is asked

    def memory(self, rows: int) -> AbstractContextManager[Memory]:
        return nullcontext(Memory(1, rows, 1, 2))

    def remember(self, memory: Memory, columns: np.ndarray, shown: np.ndarray, cells: Cells) -> None:
        assert shown.shape == (len(cells.codes), len(columns))
        self.revealed.append(columns.tolist())
        memory.add(np.zeros((2, len(shown), 1, len(columns), 2), np.float32), shown)

    def ask(self, memory: Memory, target: int) -> Condition:
        self.asked.append((self.revealed, target))
        self.revealed = []
        rows, k = len(memory.shown), int(np.diff(self.offsets)[target])
        logits = np.log(np.arange(1, k + 1, dtype=np.float32))
        return Condition(np.zeros((rows, 4), np.float32), np.tile(logits, (rows, 1)))

    def residuals(self, z: np.ndarray, flat: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return noise


def test_each_column_is_revealed_once_in_the_order_of_the_draws() -> None:
    """Every step reveals what the step before drew."""
    engine, draws = FakeEngine(), Draws.of(1, 0, 3, rows=10)
    complete(engine, Cells.empty(10, 3), NONE[:10], ~NONE[:10], draws)
    a, b, c = draws.order

    assert engine.asked == [([], a), ([[a]], b), ([[b]], c)]


@settings(max_examples=30)
@given(st.floats(0, 1), st.integers(0, 9))
def test_visible_cells_are_never_touched(share: float, seed: int) -> None:
    """Observed codes and residuals come out bit for bit as they went in, row by row."""
    rng = np.random.default_rng(seed)
    visible = rng.random((20, 3)) < share
    given_cells = Cells(rng.integers(0, 1, (20, 3)), rng.standard_normal((20, 3)).astype(np.float32))
    filled = complete(FakeEngine(), given_cells, visible, ~visible, Draws.of(seed, 0, 3, rows=20)).cells

    np.testing.assert_array_equal(filled.codes[visible], given_cells.codes[visible])
    np.testing.assert_array_equal(filled.values[visible], given_cells.values[visible])


def test_marginals_ask_each_column_and_reveal_what_is_visible_once() -> None:
    """Nothing that is asked for becomes visible."""
    engine = FakeEngine()
    visible = NONE[:10] | np.array([True, False, False])
    found = dict(marginals(engine, Cells.empty(10, 3), visible, ~visible, (2, 0, 1)))

    assert engine.asked == [([[0]], 2), ([], 1)]
    assert {c: logits.shape for c, logits in found.items()} == {2: (10, 2), 1: (10, 1)}


def test_codes_are_drawn_at_their_probability() -> None:
    """The inverse of the distribution function: shares within the error of 100,000 draws."""
    logits = np.log(np.array([[0.1, 0.2, 0.7]], np.float32)).repeat(100_000, axis=0)
    uniform = np.random.default_rng(0).random(100_000, dtype=np.float32)

    np.testing.assert_allclose(np.bincount(pick(logits, uniform)) / 100_000, [0.1, 0.2, 0.7], atol=0.005)


def test_barred_codes_are_not_drawn() -> None:
    """An imputed cell is never NULL."""
    filled = complete(
        FakeEngine(),
        Cells.empty(500, 3),
        NONE,
        ~NONE,
        Draws.of(0, 0, 3, rows=500),
        {0: Limit.of_codes(np.array([0, 1]))},
    ).cells

    assert set(filled.codes[:, 0].tolist()) == {0, 1}


def test_draws_of_a_row_depend_on_the_row_alone() -> None:
    """Its own hash, not the rows beside it; and they are standard normal."""
    hashes = np.random.default_rng(0).integers(0, 2**63, 20_000).astype(np.uint64)
    whole, part = (Draws.of_rows(4, h, (0, 1)) for h in (hashes, hashes[5000:]))

    np.testing.assert_array_equal(whole.normal[5000:], part.normal)
    assert abs(whole.normal.mean()) < 0.02 and abs(whole.normal.std() - 1) < 0.02
    assert abs(whole.uniform.mean() - 0.5) < 0.01


def test_the_solver_is_exact_where_the_data_are_normal() -> None:
    """F = 0 leaves the noise as it is; for y ~ N(m, s^2) the solution is m + s n, and each step more comes nearer."""
    noise = np.linspace(-2, 2, 9)

    np.testing.assert_array_equal(heun(lambda x, _theta: 0 * x, noise, angles(3)), noise)

    mean, std = 0.7, 0.3

    def network(x: np.ndarray, theta: float) -> np.ndarray:
        """F of the optimal denoiser of N(mean, std^2): D = cos x + sin F."""
        sigma, edm = math.tan(theta), x / math.cos(theta)
        best = (std**2 * edm + sigma**2 * mean) / (std**2 + sigma**2)
        return (best - math.cos(theta) * x) / math.sin(theta)

    off = [abs(heun(network, noise, angles(n)) - (mean + std * noise)).max() for n in (1, 2, 5, 20, 60)]
    assert off == sorted(off, reverse=True)
    assert off[-1] < 0.02


def test_a_memory_that_is_lent_again_is_as_good_as_new() -> None:
    """Nothing of the block before counts, whatever it grew to; other sizes are made for the occasion."""
    shelf = Shelf(lambda rows: Memory(1, rows, 1, 3), rows=2)
    with shelf.lend(2) as first:
        first.add(np.ones((2, 2, 1, 40, 3), np.float32), np.ones((2, 40), bool))
    with shelf.lend(2) as again, shelf.lend(2) as beside, shelf.lend(1) as other:
        assert again is first
        assert beside is not first
        assert again.filled == 0 and not again.shown.any()
        assert again.arrays[0].shape == beside.arrays[0].shape
        assert len(other.shown) == 1


def test_memory_grows_without_forgetting() -> None:
    """Keys and values stay in their places when there is no more room."""
    memory, kept = Memory(1, 2, 1, 3), []
    for i in range(40):
        fresh = np.full((2, 2, 1, 1, 3), i, np.float32)
        kept.append(fresh)
        memory.add(fresh, np.array([[True], [False]]))

    assert memory.filled == 40
    np.testing.assert_array_equal(memory.arrays[0][:, :, :40], np.concatenate(kept, axis=3)[0])
    assert memory.shown[0, :40].all() and not memory.shown[0, 40:].any() and not memory.shown[1].any()


def test_what_does_not_go_together_is_not_drawn_together() -> None:
    """In either order; and a limit that leaves nothing of what goes together is kept as it is."""
    pair = Tie((0, 2), np.array([[0, 0], [1, 1], [2, 1]]), leads=True)
    for order in ((0, 1, 2), (2, 1, 0)):
        draws = replace(Draws.of(0, 0, 3, rows=500), order=order)
        cells = complete(FakeEngine(), Cells.empty(500, 3), NONE, ~NONE, draws, ties=[pair]).cells
        assert set(zip(cells.codes[:, 0].tolist(), cells.codes[:, 2].tolist(), strict=True)) == {
            (0, 0),
            (1, 1),
            (2, 1),
        }

    shown = NONE | np.array([True, False, False])  # code 0, which goes with code 0 of the last column alone
    only = {2: Limit.of_codes(np.array([1]))}
    draws = Draws.of(0, 0, 3, rows=500)
    cells = complete(FakeEngine(), Cells.empty(500, 3), shown, ~shown, draws, only, [pair]).cells
    assert set(cells.codes[:, 2]) == {1}
