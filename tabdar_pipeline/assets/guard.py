"""What every step does about faults: a locked database is tried again later, a limit is told and final.

Steps have no retry policy of Dagster's: under one, a step that a person cancels is run again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from tabdar_pipeline.assets.limits import Limits, within
from tabdar_pipeline.errors import LimitExceeded, WarehouseLocked

RETRIES = 4
FIRST_PAUSE_S = 30.0  # and twice as long each time: who holds a database at night holds it for minutes
AGAIN_S = 5.0


@contextmanager
def guarded(context: dg.AssetExecutionContext, limits: Limits, retries: int = 0) -> Iterator[None]:
    """Run the work of a step, not what it yields; `retries` are those after any other error."""
    step = "/".join(context.asset_key.path)
    try:
        with within(limits, step):
            yield
    except WarehouseLocked as error:
        pause = FIRST_PAUSE_S * 2**context.retry_number
        context.log.warning(f"{error} Tried again in {pause:.0f} s, {RETRIES} times in all.")
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=pause) from error
    except LimitExceeded as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except Exception as error:
        if retries == 0:
            raise
        raise dg.RetryRequested(max_retries=retries, seconds_to_wait=AGAIN_S) from error
