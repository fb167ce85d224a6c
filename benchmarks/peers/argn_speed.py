"""How fast TabularARGN samples after one epoch: argn_speed.py TRAIN ROWS prints the seconds of generating."""

import json
import sys
import tempfile
import time

import pandas as pd
from mostlyai import engine


def main() -> None:
    train, rows = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as workspace:
        engine.split(tgt_data=pd.read_parquet(train), workspace_dir=workspace, model_type="TABULAR")
        engine.analyze(workspace_dir=workspace)
        engine.encode(workspace_dir=workspace)
        engine.train(workspace_dir=workspace, max_epochs=1)
        engine.generate(workspace_dir=workspace, sample_size=1000)  # what is loaded once is loaded
        started = time.perf_counter()
        engine.generate(workspace_dir=workspace, sample_size=rows)
        print(json.dumps({"rows": rows, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
