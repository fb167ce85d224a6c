"""What every table of a code location shares: how the warehouse is held, what computes."""

from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from tabdar_pipeline.fitting import FitSettings
from tabdar_pipeline.warehouse.duckdb import Warehouse


class WarehouseResource(dg.ConfigurableResource[None]):
    """Opens DuckDB files for seconds at a time, waiting where another process holds them."""

    wait_s: float = Field(default=60.0, gt=0, description="Seconds to wait for a locked database.")

    def at(self, path: Path) -> Warehouse:
        """The warehouse in this file."""
        return Warehouse(path, self.wait_s)


class ComputeResource(dg.ConfigurableResource[None]):
    """Where models are trained and sampled, unless a table says otherwise."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where it is there."
    )
    threads: int | None = Field(default=None, description="CPU threads; as many as this process may use.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="auto: bf16 where a CPU multiplies it in hardware, else fp32, on a GPU as TF32.",
    )

    def settings(self) -> FitSettings:
        """As the library knows them."""
        return FitSettings(device=self.device, threads=self.threads, precision=self.precision)
