"""The nested diffusion: EDM preconditioning and loss (Karras et al. 2022) for one scalar.

sigma_data = 1, because the codec makes every residual standard normal.
"""

from collections.abc import Callable

from torch import Tensor

Network = Callable[[Tensor, Tensor], Tensor]  # F(c_in * x, c_noise)


def denoise(network: Network, x: Tensor, sigma: Tensor) -> Tensor:
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), eq. 7 and table 1."""
    total = (sigma**2 + 1).sqrt()
    c_skip, c_out, c_in, c_noise = 1 / total**2, sigma / total, 1 / total, sigma.log() / 4
    return c_skip * x + c_out * network(c_in * x, c_noise)


def denoising_loss(network: Network, y: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """lambda(sigma) |D(y + sigma n; sigma) - y|^2 with lambda = 1 / c_out^2, eq. 8: (M, S)."""
    weight = (sigma**2 + 1) / sigma**2
    return weight * (denoise(network, y + sigma * noise, sigma) - y) ** 2
