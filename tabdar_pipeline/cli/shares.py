"""Shares of values, as a command takes them: JSON."""

import json
from collections.abc import Mapping
from typing import Any

from tabdar_pipeline.errors import UsageError

Shares = Mapping[Any, Any]  # of each value of a column, None among them


def read_shares(text: str | None) -> dict[str, Shares]:
    """The shares of each column: an object of values, or pairs [value, share], of which a value may be null.

    >>> read_shares('{"paid": {"yes": 1, "no": 3}, "rating": [[5, 1], [null, 2]]}')
    {'paid': {'yes': 1, 'no': 3}, 'rating': {5: 1, None: 2}}
    """
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--balance must be JSON, however: {error}. Correct it.") from error
    if not isinstance(found, dict) or not found:
        raise _unlike(text)
    return {name: _of_column(shares, text) for name, shares in found.items()}


def _of_column(shares: Any, text: str) -> Shares:
    if isinstance(shares, dict):
        return shares
    if not isinstance(shares, list) or not all(map(_is_pair, shares)):
        raise _unlike(text)
    found: Shares = dict(shares)
    if len(found) < len(shares):
        raise _unlike(text)
    return found


def _is_pair(it: Any) -> bool:
    return isinstance(it, list) and len(it) == 2 and not isinstance(it[0], list | dict)


def _unlike(text: str) -> UsageError:
    return UsageError(
        '--balance must be like {"income": {">50K": 1, "<=50K": 1}}, or {"rating": [[5, 1], [null, 2]]} where a '
        f"value is NULL, each value once, however: {text}. Correct it."
    )
