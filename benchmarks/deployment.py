"""Models trained on synthetic instead of real rows, as they would be deployed: ranking and calibration.

    python benchmarks/deployment.py BENCHMARKS JUDGE_PYTHON MODELS adult shoppers magic [--seconds 45] [--fit-only]

Three learners learn the judge's half, or as many synthetic rows of a model of it, and score the half that neither saw:
ROC AUC and Brier score, the expected calibration error in ten bins of equal size, the rank correlation of the risks that
the two give to the same rows, and whether the learners are ranked alike.
"""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from halves import IMAGES, RESULTS, Halves, halves, keep, parser, records
from scipy.stats import spearmanr
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer

RECORDS, PLOT = RESULTS / "deployment.json", IMAGES / "deployment.png"
LEARNERS = {
    "logistic regression": LogisticRegression(max_iter=1000),
    "random forest": RandomForestClassifier(300, min_samples_leaf=5, n_jobs=1, random_state=0),
    "boosted trees": HistGradientBoostingClassifier(random_state=0),
}
FIGURES = {"auc": "ROC AUC", "brier": "Brier score", "calibration": "calibration error"}
BINS = 10


def main() -> None:
    args = parser(__doc__, 45).parse_args()
    for table in args.tables:
        bench = halves(args, table)
        model = bench.model("ours", bench.train, args.seconds)
        if args.fit_only:
            continue
        made = model.sample(len(bench.train), seed=1)
        found = {name: compared(bench, made, name) for name in LEARNERS}
        ranked = {
            part: sorted(LEARNERS, key=lambda name: -found[name][part]["auc"])
            for part in ("real", "synthetic")
        }
        keep(RECORDS, {"table": table, "seconds": args.seconds}, {"learners": found, "ranked": ranked})
        print(table, found, ranked, flush=True)
    draw(records(RECORDS))


def compared(bench: Halves, made: pd.DataFrame, name: str) -> dict:
    """A learner's figures after real and after synthetic rows."""
    test = bench.holdout.to_pandas()
    truth = (test[bench.target] == positive(test[bench.target])).to_numpy()
    risks = {
        "real": risk(bench, bench.train.to_pandas(), test, name),
        "synthetic": risk(bench, made, test, name),
    }
    return {
        **{part: figures(truth, it) for part, it in risks.items()},
        "rank_correlation": float(spearmanr(*risks.values()).statistic),
    }


def positive(target: pd.Series) -> str:
    """The rarer class."""
    return target.value_counts().index[-1]


def risk(bench: Halves, rows: pd.DataFrame, test: pd.DataFrame, name: str) -> np.ndarray:
    label = rows[bench.target] == positive(test[bench.target])
    learner = pipeline(name).fit(rows.drop(columns=bench.target), label)
    return learner.predict_proba(test.drop(columns=bench.target))[:, 1]


def pipeline(name: str) -> Pipeline:
    numbers = make_column_selector(dtype_include="number")
    categories = make_column_selector(dtype_exclude="number")
    columns = make_column_transformer(
        (QuantileTransformer(output_distribution="normal", random_state=0), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories),
    )
    return make_pipeline(columns, LEARNERS[name])


def figures(truth: np.ndarray, risks: np.ndarray) -> dict:
    """ROC AUC, Brier score, and the mean distance of risk and frequency in bins of equal size."""
    bins = np.array_split(np.argsort(risks), BINS)
    gaps = [abs(truth[b].mean() - risks[b].mean()) * len(b) / len(truth) for b in bins]
    return {
        "auc": float(roc_auc_score(truth, risks)),
        "brier": float(brier_score_loss(truth, risks)),
        "calibration": float(sum(gaps)),
    }


def draw(found: list[dict]) -> None:
    """Each figure after real rows, and after synthetic ones."""
    figure, axes = plt.subplots(1, len(FIGURES), figsize=(11, 3.6), layout="constrained")
    for axis, (key, word) in zip(axes, FIGURES.items(), strict=True):
        for record in found:
            points = [[it[part][key] for part in ("real", "synthetic")] for it in record["learners"].values()]
            axis.scatter(*zip(*points, strict=True), label=record["table"], s=20)
        low, high = axis.get_xlim()
        axis.plot([low, high], [low, high], color="grey", lw=0.8)
        axis.set(title=word, xlabel="learned from real rows", ylabel="from synthetic rows")
    axes[0].legend()
    figure.savefig(PLOT, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
