"""The network against its equations and its masks."""

import copy
import math
from unittest.mock import patch

import pytest
import torch

from tabdar_pipeline.model.backbone import conceal
from tabdar_pipeline.model.batches import kept, reveal_times
from tabdar_pipeline.model.config import ModelConfig, TrainConfig
from tabdar_pipeline.model.diffusion import denoise, denoising_loss
from tabdar_pipeline.model.heads import CategoricalHeads
from tabdar_pipeline.model.muon import DECAY, MOMENTUM, Muon
from tabdar_pipeline.model.optimizer import Optimizer
from tabdar_pipeline.model.spec import CodeTable, ColumnSpec
from tabdar_pipeline.model.tabdar import Batch, TabDAR

SPECS = [
    ColumnSpec(3),
    ColumnSpec(4, (0.0, 0.3, 0.3, 0.8), (0.3, 0.3, 0.8, 1.0)),
    ColumnSpec(1),
    ColumnSpec(70),
]


@pytest.fixture
def network() -> TabDAR:
    """A small network of four columns, with weights that are not zero."""
    torch.manual_seed(0)
    model = TabDAR(SPECS, ModelConfig(width=16, layers=2, denoiser_width=16)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def batch(times: torch.Tensor) -> Batch:
    rng = torch.Generator().manual_seed(0)
    rows = len(times)
    codes = torch.stack([torch.randint(s.levels, (rows,), generator=rng) for s in SPECS], dim=1)
    return Batch(codes, torch.randn(rows, 4, generator=rng), torch.ones(rows, 4), times)


def test_a_column_is_predicted_from_earlier_columns_alone(network: TabDAR) -> None:
    """Changing a cell changes no condition of a column revealed before it, or at the same time."""
    times = torch.tensor([[0, 1, 2, 3]]).repeat(5, 1)
    it = batch(times)
    z = network.conditions(it)
    for c in range(4):
        changed = it.codes.clone()
        changed[:, c] = (changed[:, c] + 1) % max(SPECS[c].levels, 1)
        values = it.values.clone()
        values[:, c] += 1
        other = network.conditions(Batch(changed, values, it.weight, times))
        torch.testing.assert_close(other[:, : c + 1], z[:, : c + 1])
        if SPECS[c].levels > 1 and c < 3:
            assert not torch.allclose(other[:, c + 1 :], z[:, c + 1 :])


def test_conditions_depend_on_what_is_visible_not_on_its_place(network: TabDAR) -> None:
    """Columns given at one time see each other: their order does not matter (the paper's form)."""
    it = batch(torch.tensor([[0, 0, 0, 1]]).repeat(3, 1))
    mixed = Batch(it.codes, it.values, it.weight, torch.tensor([[0, 0, 0, 5]]).repeat(3, 1))

    torch.testing.assert_close(network.conditions(it)[:, 3], network.conditions(mixed)[:, 3])


def test_conceal_matches_its_definition() -> None:
    """A token sees what is revealed no later, a query what is revealed strictly earlier."""
    times = torch.tensor([[2, 0, 1]])
    seen = conceal(times, times, strict=True)[0, 0] == 0
    tokens = conceal(times, times, strict=False)[0, 0] == 0

    assert seen.tolist() == [
        [True, False, True, True],
        [True, False, False, False],
        [True, False, True, False],
    ]
    assert tokens.tolist() == [
        [True, True, True, True],
        [True, False, True, False],
        [True, False, True, True],
    ]


@pytest.mark.parametrize("reveal", ["cached", "mixed", "paper"])
def test_unknown_cells_are_revealed_last(reveal: str) -> None:
    """They are no evidence for any known cell."""
    known = torch.rand(200, 6, generator=torch.Generator().manual_seed(1)) < 0.7
    times = reveal_times(known, "cached", torch.Generator().manual_seed(0))
    latest = torch.where(known, times, -1).max(dim=1).values
    earliest = torch.where(known, 99, times).min(dim=1).values

    assert (earliest > latest).all()
    assert reveal_times(known, reveal, torch.Generator().manual_seed(0)).shape == known.shape  # type: ignore[arg-type]


def test_preconditioning_is_that_of_edm() -> None:
    """c_skip, c_out, c_in, c_noise of table 1 with sigma_data = 1, written out literally."""
    x, sigma = torch.tensor([[0.5, -2.0]]), torch.tensor([[0.3, 4.0]])
    network = lambda a, c: 0.1 * a + c  # noqa: E731
    for got, value, s in zip(denoise(network, x, sigma)[0], x[0], sigma[0], strict=True):
        c_skip, c_out = 1 / (s**2 + 1), s / math.sqrt(s**2 + 1)
        c_in, c_noise = 1 / math.sqrt(s**2 + 1), 0.25 * math.log(s)
        torch.testing.assert_close(got, c_skip * value + c_out * network(c_in * value, c_noise))


def test_the_loss_of_a_network_that_knows_nothing_is_one() -> None:
    """lambda = 1 / c_out^2 makes F = 0 cost 1 a cell, whatever the noise level: y and n are independent."""
    rng = torch.Generator().manual_seed(0)
    y, noise = (torch.randn(200_000, 1, generator=rng) for _ in range(2))
    for sigma in (0.1, 1.0, 10.0):
        level = torch.full_like(y, sigma)
        assert abs(float(denoising_loss(lambda x, _c: 0 * x, y, level, noise).mean()) - 1) < 0.02


def test_the_loss_of_very_many_codes_is_estimated_from_some() -> None:
    """In training; close to that over all of them, which validation takes."""
    torch.manual_seed(0)
    specs = [ColumnSpec(9000), ColumnSpec(3)]
    heads = CategoricalHeads(CodeTable.of(specs), ModelConfig(width=16))
    odds = torch.rand(9003).sort(descending=True).values + 0.1
    heads.begin_with(odds)
    codes = torch.stack([torch.randint(s.levels, (400,)) for s in specs], dim=1)
    z = torch.randn(400, 2, 16)
    some, every = heads.train()(z, codes).detach(), heads.eval()(z, codes).detach()

    torch.testing.assert_close(some[:, 1], every[:, 1])
    assert 0 < (some[:, 0] - every[:, 0]).abs().mean() < 0.1
    assert abs(float((some[:, 0] - every[:, 0]).mean())) < 0.02
    torch.testing.assert_close(heads.bias, torch.log(odds))


@pytest.mark.parametrize("fresh", [True, False])
def test_what_neighbours_share_is_settled_into_each_code(network: TabDAR, fresh: bool) -> None:
    """Losses are as before, estimated ones too; unordered codes share nothing."""
    heads, generator = copy.deepcopy(network.heads), torch.Generator().manual_seed(0)
    offsets = torch.from_numpy(heads.offsets)
    codes = (torch.rand(64, len(offsets) - 1, generator=generator) * offsets.diff()).long()
    z = torch.randn(*codes.shape, heads.weight.embedding_dim, generator=generator)
    before = heads(z, codes)
    heads.share(fresh)
    assert heads.shared is not None
    if not fresh:
        torch.testing.assert_close(heads(z, codes), before)
    heads.shared.data.normal_(generator=generator)
    loss, some = heads.eval()(z, codes), _estimated(heads, z, codes)
    assert not torch.allclose(loss, before, atol=0.1)

    heads.settle()
    assert heads.shared is None
    assert heads.state_dict().keys() == network.heads.state_dict().keys()
    torch.testing.assert_close(heads(z, codes), loss)
    torch.testing.assert_close(_estimated(heads, z, codes), some)


def _estimated(heads: CategoricalHeads, z: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Losses beside every second code."""
    with patch("tabdar_pipeline.model.heads.SAMPLED", 2):
        return heads.train()(z, codes).detach()


def test_batched_heads_equal_one_head_a_column(network: TabDAR) -> None:
    """Stacking by size changes no cross-entropy."""
    it = batch(torch.tensor([[0, 1, 2, 3]]).repeat(8, 1))
    z = network.conditions(it)
    loss = network.heads(z, it.codes)
    for c, spec in enumerate(SPECS):
        flat = torch.arange(int(network.table.offsets[c]), int(network.table.offsets[c + 1]))
        logits = network.heads.logits(z[:, c], flat)
        expected = (
            torch.nn.functional.cross_entropy(logits, it.codes[:, c], reduction="none")
            if spec.levels > 1
            else 0 * loss[:, c]
        )
        torch.testing.assert_close(loss[:, c], expected)


def test_each_weight_is_moved_by_one_optimizer(network: TabDAR) -> None:
    """The backbone's matrices by Muon, the same way in all directions however uneven the gradient is."""
    it = Optimizer(network, TrainConfig())
    moved = [*it.adam.param_groups[0]["params"], *(p for stack in it.muon.stacks for p in stack)]
    assert sorted(map(id, moved)) == sorted(map(id, network.parameters()))

    rng = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        uneven = torch.logspace(-1, 1, weight.shape[-1])
        weight.grad = torch.randn(weight.shape, generator=rng) * uneven
    matrix = network.backbone.decoder[0].attention.query.weight
    before = matrix.detach().clone()
    it.step(torch.tensor(0.5), torch.tensor(True))
    lengths = torch.linalg.svdvals(matrix.detach() - before)
    uneven = torch.linalg.svdvals(matrix.grad)

    assert uneven.max() > 100 * uneven.min()
    assert lengths.max() < 5 * lengths.min()


def test_muon_is_that_of_torch() -> None:
    """Matrices of several shapes, all of a shape at once, give what they give one by one."""
    rng = torch.Generator().manual_seed(0)
    shapes = [(16, 16), (16, 16), (32, 16), (16, 32)]
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    mine = Muon(ours)
    other = torch.optim.Muon(theirs, 0.01, DECAY, MOMENTUM, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = b.grad = torch.randn(a.shape, generator=rng)
        mine.step(torch.tensor(0.01), torch.tensor(data=True))
        other.step()

    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def test_gradients_that_are_not_finite_move_nothing(network: TabDAR) -> None:
    """No weight, and nothing that later steps would be moved by."""
    it = Optimizer(network, TrainConfig())
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    it.step(torch.tensor(0.5), torch.tensor(data=True))
    before = copy.deepcopy(network.state_dict()), {k: v.clone() for k, v in it.tensors().items()}
    for weight in network.parameters():
        weight.grad = torch.full_like(weight, torch.nan)
    it.step(torch.tensor(0.5), torch.tensor(data=False))

    torch.testing.assert_close((network.state_dict(), it.tensors()), before)


def test_dropout_hides_a_share_of_what_tokens_say(network: TabDAR) -> None:
    """In training only; what is shown grows, so that the mean stays."""
    keep = kept((100, 4, 16), TrainConfig(dropout=0.25), torch.Generator().manual_seed(0))
    assert keep is not None
    assert abs((keep == 0).float().mean() - 0.25) < 0.03
    assert abs(keep.mean() - 1) < 0.03

    it = batch(torch.tensor([[0, 1, 2, 3]]).repeat(100, 1))
    whole, hidden = network.conditions(it), network.conditions(it, keep)
    torch.testing.assert_close(hidden[:, 0], whole[:, 0])  # sees no column
    assert not torch.equal(hidden[:, 3], whole[:, 3])
    assert kept((100, 4, 16), TrainConfig(), torch.Generator()) is None


def test_the_configuration_refuses_what_cannot_be() -> None:
    """The rule, the fact, the next step."""
    with pytest.raises(Exception, match="multiple of heads, however: width=65"):
        ModelConfig(width=65)
    with pytest.raises(Exception, match="denoiser_width must be at least 1, however it is 0"):
        ModelConfig(denoiser_width=0)
    assert TrainConfig().reveal == "cached"
