"""A warm start on a refreshed table: what a fifth of the seconds reaches.

    python benchmarks/warm.py BENCHMARKS JUDGE_PYTHON MODELS adult magic [--seconds 45] [--fit-only]

The earlier state of a table is four fifths of the judge's half, the refreshed state is the whole half. Each cell of the
record: the earlier model as it is; from its weights for a fifth of the seconds; from nothing for a fifth; from nothing
for all of them.
"""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from halves import IMAGES, RESULTS, Halves, halves, keep, parser, records

from tabdar_pipeline import TabDAR

RECORDS, PLOT = RESULTS / "warm.json", IMAGES / "warm.png"
KEPT, SHARE = 0.8, 0.2
FIGURES = {"shape_error": "shape", "trend_error": "trend", "c2st_boosted": "C2ST", "utility": "utility"}


def main() -> None:
    args = parser(__doc__, 45).parse_args()
    for table in args.tables:
        bench = halves(args, table)
        for name, model in fitted(bench, args.seconds).items():
            key = {"table": table, "seconds": args.seconds, "model": name}
            if args.fit_only or any({k: r[k] for k in key} == key for r in records(RECORDS)):
                continue
            scores = bench.score(model.sample(len(bench.train), seed=1, format="arrow"), "warm")
            trained = {
                "trained_s": model.history[-1].seconds,
                "validation_loss": model.history[-1].validation_loss,
            }
            keep(RECORDS, key, trained | {k: scores[k] for k in ("synthetic", "floor")})
            print(table, name, {k: round(scores["synthetic"][k], 3) for k in FIGURES}, flush=True)
    draw(records(RECORDS))


def fitted(bench: Halves, seconds: float) -> dict[str, TabDAR]:
    before = bench.train.slice(0, round(KEPT * len(bench.train)))
    earlier = bench.model("earlier", before, seconds)
    return {
        "earlier": earlier,
        "warm": bench.model("warm", bench.train, SHARE * seconds, warm=earlier),
        "short": bench.model("ours", bench.train, SHARE * seconds),
        "full": bench.model("ours", bench.train, seconds),
    }


def draw(found: list[dict]) -> None:
    """Distance from the floor of each model."""
    words = {
        "earlier": "the earlier model",
        "warm": "warm, a fifth of the seconds",
        "short": "from nothing, a fifth",
        "full": "from nothing, all of them",
    }
    tables = list(dict.fromkeys(r["table"] for r in found))
    figure, axes = plt.subplots(1, len(FIGURES), figsize=(11, 3), layout="constrained")
    for axis, (key, word) in zip(axes, FIGURES.items(), strict=True):
        for i, (name, label) in enumerate(words.items()):
            of = {r["table"]: r for r in found if r["model"] == name}
            excess = [abs(of[t]["synthetic"][key] - of[t]["floor"][key]) for t in tables if t in of]
            axis.bar([j + 0.2 * i for j in range(len(excess))], excess, width=0.18, label=label)
        axis.set_xticks([j + 0.3 for j in range(len(tables))], tables)
        axis.set_title(f"{word}: distance from the floor", fontsize=9)
    axes[0].legend(fontsize=7)
    figure.savefig(PLOT, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
