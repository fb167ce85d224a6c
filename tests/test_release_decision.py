"""Decisions: every reason is told, and none is lost behind another of the same name."""

import json

from tabdar_pipeline.quality.figures import Figures
from tabdar_pipeline.release.decision import Decision, decide
from tabdar_pipeline.schemas.suite import ExpectationResult, Limit, SuiteResult

LIMITS = (Limit("copies", None, 0.03, "no copies"), Limit("utility", 0.8, None, "of use"))


def figures(copies: float, utility: float) -> Figures:
    """Two figures."""
    floor = {"copies": 0.02, "utility": 0.9}
    return Figures({"copies": copies, "utility": utility}, floor, {}, (), (), {"compared": 10}, "y", 0)


def suite(*failed: tuple[str, str | None]) -> SuiteResult:
    """A suite with one success and these failures."""
    results = [ExpectationResult(kind, column, success=False, observed="3") for kind, column in failed]
    return SuiteResult((ExpectationResult("expect_x", "age", success=True, observed=""), *results))


def test_what_holds_is_accepted_without_reasons() -> None:
    """With or without a suite."""
    assert decide(figures(0.0, 0.9), LIMITS, suite()).passed
    assert decide(figures(0.0, 0.9), LIMITS) == Decision(passed=True, reasons=(), limits=LIMITS)


def test_a_reason_names_figure_bound_fact_floor_and_purpose() -> None:
    """So that a person can act without looking further."""
    (reason,) = decide(figures(0.5, 0.9), LIMITS).reasons
    assert reason == "copies must be at most 0.03, however it is 0.5 (floor 0.02): no copies"


def test_a_figure_that_is_no_number_refuses() -> None:
    """What could not be measured is not fit to leave."""
    assert not decide(figures(0.0, float("nan")), LIMITS).passed


def test_a_figure_that_the_suite_refuses_too_is_told_once() -> None:
    """The suite holds the same limits."""
    decision = decide(figures(0.5, 0.9), LIMITS, suite(("expect_column_values_to_be_between", "copies")))
    assert len(decision.reasons) == 1


def test_a_column_that_is_called_like_a_figure_is_not_overlooked() -> None:
    """A table may well have a column "copies"."""
    decision = decide(figures(0.0, 0.9), LIMITS, suite(("expect_column_values_to_not_be_null", "copies")))
    assert not decision.passed
    assert "expect_column_values_to_not_be_null on copies" in decision.reasons[0]


def test_a_decision_is_read_back_from_json() -> None:
    """As a manifest holds it."""
    decision = decide(figures(0.5, 0.5), LIMITS, suite(("expect_y", None)))
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision
