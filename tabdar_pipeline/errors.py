"""What can go wrong, one class per reaction a caller can have.

Every message names the table, the column, the rule, the fact and the next step.
"""

from dataclasses import dataclass


class TabdarError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class UsageError(TabdarError):
    """A setting or an argument is wrong: correct the call."""

    exit_code = 2


class ConditionError(UsageError):
    """No row can satisfy what is asked, or it cannot be read: change the condition."""


class SourceError(TabdarError):
    """The table cannot be read or learned from: correct the source."""


class WarehouseLocked(SourceError):
    """Another process holds the database file: wait, or stop it."""


class StorageError(TabdarError):
    """A file cannot be written or is not what was written: free space or restore it."""


class LimitExceeded(TabdarError):
    """A step took longer, or more memory, than it may: raise the limit, or give it less to do."""


class TableInUse(StorageError):
    """Another run works on the same table's files: wait, or cancel it."""


class ModelDirectoryError(StorageError):
    """A model directory is torn, altered, or of a newer format: restore it or fit again."""


class TrainingError(TabdarError):
    """Training cannot start or has diverged: change the settings or the table."""


class ParityError(TabdarError):
    """The ONNX graphs and the torch model disagree: do not use the graphs."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one column breaks, with its count and up to three examples.

    >>> Violation("age", "in_range(0, 120)", 2, ("-1", "999")).sentence()
    "column 'age' breaks in_range(0, 120) in 2 rows, for example: -1, 999"
    """

    column: str
    check: str
    count: int
    examples: tuple[str, ...]

    def sentence(self) -> str:
        """The violation as one line for a person."""
        rows = "1 row" if self.count == 1 else f"{self.count} rows"
        shown = f", for example: {', '.join(self.examples)}" if self.examples else ""
        return f"column {self.column!r} breaks {self.check} in {rows}{shown}"


class ContractViolation(TabdarError):
    """The source breaks its contract: correct the rows or the contract."""

    def __init__(self, table: str, violations: tuple[Violation, ...]) -> None:
        self.table = table
        self.violations = violations
        lines = "\n".join(f"  - {violation.sentence()}" for violation in violations)
        super().__init__(
            f"table {table!r} breaks its contract in {len(violations)} places:\n{lines}\n"
            "Correct the rows in the source, or change the contract and review the change."
        )


class ReleaseRefused(TabdarError):
    """The candidate does not meet the policy: nothing was published."""

    def __init__(self, table: str, reasons: tuple[str, ...]) -> None:
        self.table = table
        self.reasons = reasons
        lines = "\n".join(f"  - {reason}" for reason in reasons)
        super().__init__(
            f"release of {table!r} refused; the previous release is still served:\n{lines}\n"
            "Train longer, change the source, or change the policy and record why."
        )
