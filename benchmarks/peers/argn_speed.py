"""How fast TabularARGN samples after one epoch: argn_speed.py TRAIN ROWS TIMES prints the seconds of generating."""

import json
import sys
import tempfile
import time

import pandas as pd
from mostlyai import engine


def main() -> None:
    train, rows, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as workspace:
        engine.split(tgt_data=pd.read_parquet(train), workspace_dir=workspace, model_type="TABULAR")
        engine.analyze(workspace_dir=workspace)
        engine.encode(workspace_dir=workspace)
        engine.train(workspace_dir=workspace, max_epochs=1)
        engine.generate(workspace_dir=workspace, sample_size=1000)  # what is loaded once is loaded
        seconds = []
        for _ in range(times):
            started = time.perf_counter()
            engine.generate(workspace_dir=workspace, sample_size=rows)
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"rows": rows, "seconds": seconds}))


if __name__ == "__main__":
    main()
