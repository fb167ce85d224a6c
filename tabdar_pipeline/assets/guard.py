"""What every step does about faults: what another holds is tried again later, a limit is told and final.

Steps have no retry policy of Dagster's: under one, a step that a person cancels is run again.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import dagster as dg

from tabdar_pipeline.assets import lease
from tabdar_pipeline.assets.limits import within
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.runs import unfinished
from tabdar_pipeline.errors import LimitExceeded, TableInUse, WarehouseLocked

RETRIES = 4
FIRST_PAUSE_S = 30.0  # and twice as long each time: who holds a database at night holds it for minutes
AGAIN_S = 5.0


@contextmanager
def guarded(context: dg.AssetExecutionContext, plan: Plan, name: str, retries: int = 0) -> Iterator[None]:
    """Run the work of a step, not what it yields, while no other run works on the table or partition of its plan.

    `name` is the step's among limits; `retries` are those after an error that is neither a lock nor a limit.
    """
    step = "/".join(context.asset_key.path)

    def going_on(runs: Collection[str]) -> list[str]:
        return [it.run_id for it in unfinished(context.instance, run_ids=[*runs])] if runs else []

    try:
        with lease.held(plan, context.run.run_id, going_on), within(plan.limits.of(name), step):
            yield
    except (WarehouseLocked, TableInUse) as error:
        pause = FIRST_PAUSE_S * 2**context.retry_number
        context.log.warning(f"{error} Tried again in {pause:.0f} s, {RETRIES} times in all.")
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=pause) from error
    except LimitExceeded as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except Exception as error:
        if retries == 0:
            raise
        raise dg.RetryRequested(max_retries=retries, seconds_to_wait=AGAIN_S) from error
