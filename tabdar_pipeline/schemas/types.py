"""Arrow types by name, and the DuckDB type that each is stored as."""

import datetime as dt
import re
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

import pyarrow as pa

from tabdar_pipeline.errors import SourceError

_PATTERNS: dict[str, Callable[[re.Match[str]], pa.DataType]] = {
    r"decimal(128|256)\((\d+), (-?\d+)\)": lambda m: (
        pa.decimal128(int(m[2]), int(m[3])) if m[1] == "128" else pa.decimal256(int(m[2]), int(m[3]))
    ),
    r"timestamp\[(\w+)(?:, tz=(.+))?\]": lambda m: pa.timestamp(m[1], m[2]),
    r"time(32|64)\[(\w+)\]": lambda m: pa.time32(m[2]) if m[1] == "32" else pa.time64(m[2]),
    r"duration\[(\w+)\]": lambda m: pa.duration(m[1]),
    r"fixed_size_binary\[(\d+)\]": lambda m: pa.binary(int(m[1])),
    r"dictionary<values=(.+), indices=(\w+), ordered=(\d)>": lambda m: pa.dictionary(
        arrow_type(m[2]), arrow_type(m[1]), m[3] == "1"
    ),
}

_SQL = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "halffloat": "FLOAT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "string_view": "VARCHAR",
    "binary": "BLOB",
    "large_binary": "BLOB",
    "date32[day]": "DATE",
    "date64[ms]": "DATE",
    "timestamp[s]": "TIMESTAMP_S",
    "timestamp[ms]": "TIMESTAMP_MS",
    "timestamp[us]": "TIMESTAMP",
    "timestamp[ns]": "TIMESTAMP_NS",
    "month_day_nano_interval": "INTERVAL",
    "null": "INTEGER",
}


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type whose `str` this is.

    >>> arrow_type("decimal128(12, 2)")
    Decimal128Type(decimal128(12, 2))
    """
    for pattern, make in _PATTERNS.items():
        if match := re.fullmatch(pattern, name):
            return make(match)
    try:
        return pa.type_for_alias(name)
    except ValueError as error:
        raise SourceError(f"an Arrow type must be known, however: {name!r}") from error


def sql_type(kind: pa.DataType) -> str:
    """The DuckDB type in which an Arrow type is stored.

    >>> sql_type(pa.decimal128(12, 2))
    'DECIMAL(12,2)'
    """
    if pa.types.is_dictionary(kind):
        return sql_type(kind.value_type)
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind) and kind.tz:
        return "TIMESTAMP WITH TIME ZONE"
    if pa.types.is_time(kind):
        return "TIME"
    if pa.types.is_duration(kind):
        return "INTERVAL"
    if pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    return _SQL.get(str(kind), str(kind).upper())


def as_floats(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as float64; a decimal becomes the float nearest to it."""
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.string())
    return values.cast(pa.float64(), safe=False)


def from_text(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Values of a type, written as text; a time without a zone is in the type's own.

    >>> from_text(["12:30:00", None], pa.time64("us"))[0].as_py()
    datetime.time(12, 30)
    """
    if pa.types.is_dictionary(kind):
        return from_text(texts, kind.value_type).cast(kind)
    if pa.types.is_time(kind):
        return pa.array([None if text is None else dt.time.fromisoformat(text) for text in texts]).cast(kind)
    if pa.types.is_timestamp(kind) and kind.tz:
        moments = [None if text is None else dt.datetime.fromisoformat(text) for text in texts]
        zone = ZoneInfo(kind.tz)
        return pa.array([m if m is None or m.tzinfo else m.replace(tzinfo=zone) for m in moments]).cast(kind)
    return pa.array(list(texts), pa.string()).cast(kind)
