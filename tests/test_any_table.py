"""Any table of a warehouse comes back as a table of the same names and types, or is refused by name."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.synthesizer import TabDAR
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.names import Relation, identifier
from tabdar_pipeline.warehouse.publish import publish
from tabdar_pipeline.warehouse.snapshot import snapshot

ROWS = 120

TYPES = {
    "tinyint": "(i % 200 - 100)::TINYINT",
    "utinyint": "(i % 250)::UTINYINT",
    "smallint": "(i % 3000 - 99)::SMALLINT",
    "usmallint": "(i * 37 % 60000)::USMALLINT",
    "integer": "(i * 7919 % 1000003)::INTEGER",
    "uinteger": "(4294967295 - i * 3)::UINTEGER",
    "bigint beyond 2^53": "(9007199254740993 + i * 17)::BIGINT",
    "bigint, smallest": "(-9223372036854775807 + i % 50)::BIGINT",
    "ubigint beyond 2^63": "(18446744073709551615 - i % 77)::UBIGINT",
    "hugeint": "(i % 9)::HUGEINT",
    "uhugeint": "(i % 9)::UHUGEINT",
    "bignum": "(i % 7)::BIGNUM",
    "float": "(sin(i) * 3)::FLOAT",
    "double, heavy tails": "exp(sin(i) * 20)",
    "double, nan and infinities beside null": "CASE i % 7 WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN 'inf'::DOUBLE "
    "WHEN 2 THEN '-inf'::DOUBLE WHEN 3 THEN NULL ELSE i / 3 END",
    "decimal(4,1)": "(i % 99 / 10)::DECIMAL(4,1)",
    "decimal(18,2)": "(i * 37 % 5000 / 100)::DECIMAL(18,2)",
    "decimal(38,10)": "(i * 37 % 5000)::DECIMAL(38,10)",
    "decimal(38,0) beyond 2^64": "('12345678901234567890123456789' || (i % 10))::DECIMAL(38,0)",
    "decimal(38,38)": "('0.' || repeat('1', 30) || (i % 7))::DECIMAL(38,38)",
    "boolean": "i % 3 = 0",
    "date": "DATE '1960-01-01' + (i * 13 % 30000)::INT",
    "date of year 9999": "DATE '9999-12-31' - (i % 5)::INT",
    "time": "TIME '08:00:00' + INTERVAL (i % 600) MINUTE",
    "time with time zone": "'08:00:00+02'::TIMETZ",
    "timestamp": "TIMESTAMP '2020-01-01' + INTERVAL (i * 7919) SECOND",
    "timestamp of year 44": "TIMESTAMP '0044-03-15' + INTERVAL (i) DAY",
    "timestamp_s": "(TIMESTAMP '2020-01-01' + INTERVAL (i * 7919) SECOND)::TIMESTAMP_S",
    "timestamp_ms": "(TIMESTAMP '2020-01-01' + INTERVAL (i * 7919) MILLISECOND)::TIMESTAMP_MS",
    "timestamp_ns": "(TIMESTAMP '2020-01-01' + INTERVAL (i * 7919) SECOND)::TIMESTAMP_NS",
    "timestamptz": "(TIMESTAMP '2020-01-01' + INTERVAL (i * 7919) SECOND)::TIMESTAMPTZ",
    "interval": "INTERVAL (i % 30) DAY",
    "varchar": "'v' || (i % 6)",
    "varchar, free": "'some text ' || hash(i)",
    "enum": "(['a', 'b', 'c'])[i % 3 + 1]::ENUM('a', 'b', 'c', 'unused')",
    "enum of odd labels": "(['it''s', 'a,b'])[i % 2 + 1]::ENUM('it''s', 'a,b', 'x]', '')",
    "uuid": "md5(i::VARCHAR)::UUID",
    "uuid, few": "('00000000-0000-0000-0000-00000000000' || (i % 4))::UUID",
    "blob": "('x' || i)::BLOB",
    "bit": "('0101' || (i % 2))::BIT",
    "json": "('{\"a\":' || (i % 4) || '}')::JSON",
    "null": "NULL::INTEGER",
    "interval, many": "INTERVAL (hash(i) % 400) DAY + INTERVAL (hash(i * 3) % 24) HOUR",
    "interval of all parts": "INTERVAL (i) MONTH - INTERVAL (i * 7919) SECOND + INTERVAL (i % 9) DAY",
    "json, many": "('{\"name\": \"n' || hash(i) || '\", \"age\": ' || (hash(i) % 90) || ', \"ok\": ' || (i % 2 = 0) || '}')::JSON",
    "bit, many": "i::BIT",
    "time with time zone, many": "((TIME '08:00:00' + INTERVAL (i) MINUTE)::VARCHAR || '+02')::TIMETZ",
    "bignum, many": "(i * 1000003)::BIGNUM",
    "blob, many of several lengths": "repeat('x' || i, (i % 9)::INT)::BLOB",
}

VALUES = {
    "constant": "42",
    "constant or null": "CASE WHEN i % 3 = 0 THEN 42 END",
    "one value but one": "(i = 5)::INT",
    "one row known": "CASE WHEN i = 5 THEN 1.5 END",
    "all but one alike, text": "CASE WHEN i = 5 THEN 'b' ELSE 'a' END",
    "empty strings": "CASE WHEN i % 2 = 0 THEN '' ELSE 'a' END",
    "strings of spaces": "repeat(' ', (i % 4)::INT)",
    "the words null, nan and none": "(['NULL', 'nan', 'None', 'NaN', 'null'])[i % 5 + 1]",
    "numbers as strings": "((i % 5) / 10)::VARCHAR",
    "true and false as strings": "(i % 2 = 0)::VARCHAR",
    "leading zeros": "lpad((i % 9)::VARCHAR, 5, '0')",
    "emoji": "(['😀', '🎉', 'ß', 'İ'])[i % 4 + 1]",
    "right to left": "(['שלום', 'مرحبا'])[i % 2 + 1]",
    "newlines and quotes": "(['a\nb', 'c\"d', 'e''f', 'g\\h'])[i % 4 + 1]",
    "levels alike but for case": "(['a', 'A', 'a '])[i % 3 + 1]",
    "normal forms of one letter": "(['é', 'e' || chr(769)])[i % 2 + 1]",
    "SQL in a level": "(['x''; DROP TABLE t; --', 'y'])[i % 2 + 1]",
    "a long string": "repeat('x', 10000) || (i % 2)",
    "a unique string a row": "'unique sentence number ' || i || ' of many'",
    "a key of integers": "i + 1000",
    "integers without gaps, negative": "-i",
    "zeros of both signs": "CASE WHEN i % 2 = 0 THEN 0.0 ELSE -0.0 END",
    "tiny floats": "i * 1e-300",
    "subnormal floats": "5e-324 * (i % 9)",
    "huge floats": "CASE WHEN i % 2 = 0 THEN 1e308 ELSE -1e308 END + i",
    "a point mass and a tail": "CASE WHEN i % 10 < 9 THEN 0 ELSE exp(i / 10) END",
    "steps of 0.05": "(i % 37) * 0.05",
    "whole hundreds": "(i % 37) * 100",
    "alternating": "i % 2",
    "powers of ten": "pow(10, i % 15)",
    "midnights": "TIMESTAMP '2024-01-01' + INTERVAL (i % 90) DAY",
    "one moment": "TIMESTAMP '2024-01-01 12:00:00'",
    "month ends": "last_day(DATE '2000-01-31' + INTERVAL (i) MONTH)",
    "a leap second's neighbour": "TIMESTAMP '2016-12-31 23:59:59.999999' + INTERVAL (i % 2) SECOND",
    "integers at both ends and near zero": "CASE i % 3 WHEN 0 THEN 9223372036854775807 "
    "WHEN 1 THEN -9223372036854775807 ELSE i END",
    "huge floats of both signs, dense": "1.7e308 * sin(i)",
    "subnormal floats, dense": "5e-324 * (i * 7919 % 100003)",
    "IP addresses": "(i * 37 % 256) || '.' || (i * 91 % 256) || '.0.' || (i % 256)",
    "keys of a pattern": "'CUST-' || lpad(i::VARCHAR, 6, '0')",
    "keys with a number": "'ID-' || (i + 1)",
    "dates as strings": "strftime(DATE '2020-01-01' + (i * 7)::INT, '%d/%m/%Y')",
    "99 % null": "CASE WHEN i % 100 = 0 THEN i END",
}

NAMES = [
    *(
        "select",
        "from",
        "table",
        "order",
        "group",
        "null",
        "true",
        "index",
        "values",
        "count",
        "*",
        "?",
        "%s",
    ),
    *(
        'a"b',
        "a'b",
        "a.b",
        "a b",
        " a",
        "a ",
        "a,b",
        "a;b",
        "a\\b",
        "a/b",
        "a\nb",
        "a\tb",
        "-- a",
        "/*",
        "{a}",
    ),
    *("é", "名前", "имя", "😀", "ß", "İ", "a" * 300, "0", "1a", "$1", ":a", "@a", "#a", "__index_level_0__"),
    *(
        "draw",
        "__split",
        "rowid",
        "k",
        "base ",
        "h",
        "n",
        "tabdar",
        "column0",
        "0.1",
        "None",
        "nan",
        "level_0",
    ),
]

TABLES = [
    '"select"."table"',
    '"a b"."c d"',
    '"a.b"."c.d"',
    '"x""y"."z""w"',
    '"名前"."テーブル"',
    'main."drop table t; --"',
    'main."../../etc"',
    'main."' + "long" * 30 + '"',
    'main."__r0001"',
    "tabdar.customers",
]


def shapes() -> dict[str, str]:
    """Whole tables, as queries."""
    wide = ", ".join(f"((i * {k + 3}) % {k + 2})::INT AS c{k}" for k in range(300))
    return {
        "300 columns": f"SELECT {wide} FROM range(320) t(i)",
        "1 column": "SELECT i % 3 AS a FROM range(40) t(i)",
        "2 columns": "SELECT i % 3 AS a, i % 2 AS b FROM range(40) t(i)",
        "2 rows": "SELECT i AS a, 'v' || i AS b FROM range(2) t(i)",
        "12 rows, 12 columns": "SELECT "
        + ", ".join(f"i * {k} AS c{k}" for k in range(12))
        + " FROM range(12) t(i)",
        "10 rows": "SELECT i AS a, sin(i) AS b, 'v' || (i % 2) AS c FROM range(10) t(i)",
        "all rows alike but one": "SELECT (i = 0)::INT AS a, 'x' AS b FROM range(50) t(i)",
        "every row four times": "SELECT i // 4 % 6 AS a, 'v' || (i // 4 % 5) AS b FROM range(80) t(i)",
        "nothing known in half of the rows": "SELECT CASE WHEN i % 2 = 0 THEN i END AS a, "
        "CASE WHEN i % 2 = 0 THEN 'v' || (i % 4) END AS b FROM range(80) t(i)",
        "complementary nulls": "SELECT CASE WHEN i % 2 = 0 THEN i END AS a, "
        "CASE WHEN i % 2 = 1 THEN i END AS b FROM range(80) t(i)",
        "a key and one column": "SELECT i AS id, i % 3 AS a FROM range(80) t(i)",
        "two keys": "SELECT i AS id, 'K-' || lpad(i::VARCHAR, 4, '0') AS code_id, i % 3 AS a FROM range(80) t(i)",
        "columns that are equal": "SELECT i % 7 AS a, i % 7 AS b, i % 7 AS c FROM range(80) t(i)",
        "a column and its negative": "SELECT sin(i) AS a, -sin(i) AS b FROM range(80) t(i)",
        "1,000 levels": "SELECT 'v' || (i * i % 1009) AS a, i % 2 AS b FROM range(6000) t(i)",
    }


def job(folder: Path, query: str, name: str = "main.people", rows: int = 50) -> tuple[pa.Table, pa.Table]:
    """The source and the release of the whole way, on a model fitted for one epoch; types must be equal."""
    relation, path = Relation.parse(name), folder / "w.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(relation.schema)}")
        connection.execute(f"CREATE TABLE {relation.sql} AS {query}")
    warehouse = Warehouse(path)
    taken = snapshot(warehouse, name, folder / "snapshots")
    table = pq.read_table(taken.path, partitioning=None)
    schema = infer_schema(table, name, taken.sql_types)
    contract = Contract.infer(table, schema)
    assert Contract.from_yaml(contract.to_yaml()) == contract
    assert contract.validate(table) == ()
    model = TabDAR.fit(table, schema=schema, epochs=1)
    assert type(model.codec).from_json(model.codec.to_json()).to_json() == model.codec.to_json()
    drawn = model.sample(rows, engine="torch", format="arrow")
    pq.write_table(drawn, folder / "out.parquet")
    target = str(Relation("synthetic", relation.name))
    publish(warehouse, target, folder / "out.parquet", taken.sql_types, {"model_fingerprint": "-"})
    with duckdb.connect(str(path)) as connection:
        served = f"SELECT * FROM {Relation.parse(target).sql}"
        described = [
            connection.execute(f"DESCRIBE {it}").fetchall() for it in (f"FROM {relation.sql}", served)
        ]
        assert [row[:2] for row in described[0]] == [row[:2] for row in described[1]]
        assert connection.execute(f"SELECT count(*) FROM ({served})").fetchall() == [(rows,)]
    return table, drawn


def within(real: pa.Table, drawn: pa.Table, name: str) -> bool:
    """Whether no value is beyond the real ones."""
    import pyarrow.compute as pc

    values, found = real[name], drawn[name].drop_null()
    if pa.types.is_floating(values.type):
        values, found = (it.filter(pc.is_finite(it)) for it in (values.drop_null(), found))
    if not len(found) or not (pa.types.is_primitive(values.type) or pa.types.is_decimal(values.type)):
        return True
    ends, got = pc.min_max(values), pc.min_max(found)
    return bool(ends["min"].as_py() <= got["min"].as_py() and got["max"].as_py() <= ends["max"].as_py())


@pytest.mark.parametrize("kind", TYPES)
def test_every_scalar_type_comes_back_as_itself(tmp_path, kind):
    real, drawn = job(tmp_path, f"SELECT (i % 4)::INT AS base, {TYPES[kind]} AS x FROM range({ROWS}) t(i)")
    schema = infer_schema(real, "t")
    if schema["x"].modelled:
        assert within(real, drawn, "x")


@pytest.mark.parametrize("values", VALUES)
def test_odd_values_are_reproduced(tmp_path, values):
    query = f"SELECT (i % 4)::INT AS base, {VALUES[values]} AS x FROM range({ROWS}) t(i)"
    real, drawn = job(tmp_path, query)
    column = infer_schema(real, "t")["x"]
    if column.modelled:
        assert within(real, drawn, "x")
    if column.kind == "category":
        assert set(drawn["x"].to_pylist()) <= set(real["x"].to_pylist())


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:30])
def test_odd_column_names_are_kept(tmp_path, name):
    query = f"SELECT (i % 4)::INT AS base, i % 3 AS {identifier(name)} FROM range(60) t(i)"
    _, drawn = job(tmp_path, query)
    assert drawn.column_names == ["base", name]
    assert set(drawn[name].to_pylist()) <= {0, 1, 2}


@pytest.mark.parametrize("name", TABLES, ids=lambda name: name[:30])
def test_odd_table_names_are_kept(tmp_path, name):
    _, drawn = job(tmp_path, "SELECT i % 4 AS a, i % 3 AS b FROM range(60) t(i)", name)
    assert drawn.num_rows == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "snapshots", "w.duckdb"]


@pytest.mark.parametrize("shape", shapes())
def test_odd_shapes_are_learned(tmp_path, shape):
    real, drawn = job(tmp_path, shapes()[shape])
    assert drawn.schema.names == real.schema.names
    assert all(within(real, drawn, column.name) for column in infer_schema(real, "t").modelled)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("[i]", "BIGINT[]"),
        ("[i, i]::INT[2]", "INTEGER[2]"),
        ("{'a': i}", "STRUCT(a BIGINT)"),
        ("MAP {'a': i}", "MAP(VARCHAR, BIGINT)"),
        ("union_value(a := i)", "UNION(a BIGINT)"),
        ("i::VARIANT", "VARIANT"),
    ],
)
def test_nested_columns_are_refused_by_name(tmp_path, cell, kind):
    with pytest.raises(SourceError) as caught:
        job(tmp_path, f'SELECT i AS a, {cell} AS "the column" FROM range(60) t(i)')
    for part in ("main.people", "the column", kind, "Unnest", "columns"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("(170141183460469231731687303715884105727 - i)::HUGEINT", "DECIMAL(38,0)"),
        ("CASE WHEN i = 3 THEN 'infinity'::DATE ELSE DATE '2020-01-01' + i::INT END", "infinity"),
        ("CASE WHEN i = 3 THEN '-infinity'::TIMESTAMP ELSE TIMESTAMP '2020-01-01' END", "infinity"),
        ("TIMESTAMP '0044-03-15 (BC)' + INTERVAL (i) DAY", "years 1 to 9999"),
        ("DATE '12000-01-01' + i::INT", "years 1 to 9999"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_the_reason(tmp_path, cell, word):
    with pytest.raises(SourceError) as caught:
        job(tmp_path, f"SELECT i % 3 AS a, {cell} AS x FROM range(60) t(i)")
    assert word in str(caught.value)
    assert "leave" in str(caught.value)


_CELLS = {
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int64(): st.integers(-(2**63) + 1, 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(),
    pa.decimal128(38, 4): st.decimals(-(10**30), 10**30, allow_nan=False, allow_infinity=False, places=4),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.time64("us"): st.times(),
}


@st.composite
def any_table(draw: st.DrawFn) -> pa.Table:
    """Six to thirty rows of two to six columns of any type."""
    rows = draw(st.integers(6, 30))
    kinds = draw(st.lists(st.sampled_from(list(_CELLS)), min_size=1, max_size=5))
    columns = [
        pa.array(draw(st.lists(st.none() | _CELLS[kind], min_size=rows, max_size=rows)), kind)
        for kind in kinds
    ]
    columns.append(pa.array(np.arange(rows) % 2))  # there is always something to learn
    return pa.table(columns, [f"c{i}" for i in range(len(columns))])


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(any_table())
def test_types_and_contract_are_kept_whatever_the_table(real):
    schema = infer_schema(real, "t")
    contract = Contract.infer(real, schema)
    assert Contract.from_yaml(contract.to_yaml()) == contract
    assert contract.validate(real) == ()
    drawn = TabDAR.fit(real, schema=schema, epochs=1).sample(20, engine="torch", format="arrow")
    assert drawn.schema.types == real.schema.types
    assert drawn.schema.names == real.schema.names
    assert all(within(real, drawn, column.name) for column in schema.modelled)
