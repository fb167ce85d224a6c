"""TabularARGN with its default settings: argn.py TRAIN OUT ROWS prints the seconds of training and sampling."""

import json
import sys
import tempfile
import time

import pandas as pd
from mostlyai import engine


def main() -> None:
    train, out, rows = sys.argv[1:]
    with tempfile.TemporaryDirectory() as workspace:
        started = time.perf_counter()
        engine.set_random_state(0)
        engine.split(tgt_data=pd.read_parquet(train), workspace_dir=workspace, model_type="TABULAR")
        engine.analyze(workspace_dir=workspace)
        engine.encode(workspace_dir=workspace)
        engine.train(workspace_dir=workspace)
        trained = time.perf_counter()
        engine.generate(workspace_dir=workspace, sample_size=int(rows))
        sampled = time.perf_counter()
        pd.read_parquet(f"{workspace}/SyntheticData").to_parquet(out)
    print(json.dumps({"train_s": trained - started, "sample_s": sampled - trained}))


if __name__ == "__main__":
    main()
