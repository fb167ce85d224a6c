"""Sizes of the network and settings of its training: frozen, checked once."""

from dataclasses import asdict, dataclass

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.sampling.engine import Visibility

MOST = 4096  # of any size: above, a directory was written by no one of ours


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the network."""

    width: int = 64  # E, of tokens and conditions
    heads: int = 2  # H; few wide heads are faster on a CPU than many narrow ones
    memory_heads: int = 0  # G of keys and values, shared by groups of heads; 0: each its own
    layers: int = 1  # encoder blocks over the visible columns; 0: a visible column is its own token
    decoder_layers: int = 1  # cross-attention blocks from a query to the visible columns
    expansion: int = 2  # MLP width over E
    frequencies: int = 6  # octaves of the periodic features of a rank
    denoiser_width: int = 64  # D
    denoiser_blocks: int = 2

    def __post_init__(self) -> None:
        """Refuse sizes that no network can have, or none of ours."""
        for name, size in asdict(self).items():
            if not isinstance(size, int) or not 0 <= size <= MOST:
                raise UsageError(
                    f"{name} must be a whole number up to {MOST:,}, however: {size!r}. Correct it."
                )
        for name in ("width", "heads", "expansion", "denoiser_width"):
            if not getattr(self, name):
                raise UsageError(f"{name} must be at least 1, however it is 0. Choose another number.")
        if self.width % self.heads:
            raise UsageError(
                f"width must be a multiple of heads, however: width={self.width}, "
                f"heads={self.heads}. Choose another width."
            )
        if self.heads % self.groups:
            raise UsageError(
                f"heads must be a multiple of memory_heads, however: heads={self.heads}, "
                f"memory_heads={self.memory_heads}. Choose another number."
            )

    @property
    def groups(self) -> int:
        """G, the heads of keys and values."""
        return self.memory_heads or self.heads


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of training."""

    batch: int = 256
    learning_rate: float = 7e-3  # of Adam
    matrix_rate: float = 3.0  # Muon's learning rate over Adam's; 0: Adam moves the matrices, too
    warmup: float = 0.03  # share of the budget
    dropout: float = 0.0  # share of what tokens say that is hidden in training
    noise_levels: int = 1  # S, noise levels per condition vector
    noise_mean: float = -0.8  # of log sigma
    noise_std: float = 1.4
    ema_steps: float = 0.05  # horizon of the weight average, as a share of the steps so far
    gradient_norm: float = 1.0
    patience: float = 0.15  # share of the budget without improvement after which it turns back to the best
    patience_steps: int = 200  # and no fewer steps than so many
    fall: float = 0.1  # share of the budget in which the rate then falls to zero
    reveal: Visibility = "cached"
    validation_share: float = 0.05
