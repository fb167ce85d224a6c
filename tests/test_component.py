"""The component: what YAML says is what the asset graph is, and what it must not say is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tabdar_pipeline.components.synthetic_table import SyntheticTable

MINIMAL: dict[str, Any] = {"source": {"database": "w.duckdb", "table": "crm.customers"}}


def definitions(**attributes: Any) -> dg.Definitions:
    component = SyntheticTable.from_attributes_dict(attributes=MINIMAL | attributes)
    return dg.build_defs_for_component(component)


@pytest.mark.parametrize(
    "attributes",
    [
        {"sourec": {}},
        {"train": {"seconds": -1}},
        {"train": {"seconds": 10, "epochs": 2}},
        {"train": {"device": "tpu"}},
        {"train": {"holdout": 1.0}},
        {"sample": {"rows": 0}},
        {"policy": {"shape_error": 101}},
        {"policy": {"shape": 1}},
        {"schedule": "every day"},
        {"watch": {"by": "hope"}},
        {"watch": {"by": "watermark"}},
        {"watch": {"by": "rows", "column": "updated_at"}},
        {"watch": {"every": 1}},
        {"keep": 0},
        {"limits": {"steps": {"filled": {"minutes": 1}}}},
        {"limits": {"steps": {"model": {"hours": 1}}}},
        {"refresh": {"allow": ["hope"]}},
        {"refresh": {"columns": {"sample": 21}}},
        {"refresh": {"budget": 0}},
        {"source": {"database": "w.duckdb"}},
        {"source": {"database": "w.duckdb", "table": "crm.customers", "limit": 1}},
    ],
    ids=str,
)
def test_unknown_keys_and_values_out_of_range_are_refused(attributes: dict[str, Any]) -> None:
    """When the definitions load, not when a run has begun."""
    with pytest.raises(Exception, match=r"."):
        definitions(**attributes)


def test_the_graph_goes_from_source_to_release() -> None:
    """Keys, dependencies and blocking checks."""
    graph = definitions().resolve_asset_graph()
    parents = {
        key.to_user_string(): {p.to_user_string() for p in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    way = "synthetic/customers"

    assert parents == {
        "crm/customers": set(),
        f"{way}/snapshot": {"crm/customers"},
        f"{way}/drift": {f"{way}/snapshot"},
        f"{way}/model": {f"{way}/drift"},
        f"{way}/onnx": {f"{way}/model"},
        f"{way}/candidate": {f"{way}/onnx"},
        f"{way}/report": {f"{way}/candidate"},
        way: {f"{way}/report"},
    }
    checks = {(k.asset_key.path[-1], k.name) for k in graph.asset_check_keys}
    assert checks == {
        ("snapshot", "contract"),
        ("drift", "schema"),
        ("onnx", "parity"),
        ("report", "release_policy"),
    }


def test_a_schedule_pools_and_gpu_tags_are_as_asked() -> None:
    """What a deployment needs to place the work."""
    defs = definitions(schedule="0 3 * * *", train={"device": "cuda"})
    model = defs.resolve_assets_def(dg.AssetKey(["synthetic", "customers", "model"]))

    assert defs.resolve_schedule_def("refresh_synthetic_customers_schedule").cron_schedule == "0 3 * * *"
    assert model.op.pool == "gpu"
    assert "nvidia.com/gpu" in str(model.op.tags)
    assert model.op.retry_policy is None  # under which a step that is cancelled would run again


def test_names_with_dots_and_quotes_can_be_tables() -> None:
    """Double quotes around a name with a dot; asset keys have underscores for what Dagster does not allow."""
    defs = definitions(source={"database": "w.duckdb", "table": 'crm."a.b c"'}, target="out")

    assert dg.AssetKey(["out", "a_b_c"]) in defs.resolve_asset_graph().get_all_asset_keys()


def test_the_source_cannot_be_the_target() -> None:
    """A release never overwrites what it was learned from."""
    with pytest.raises(Exception, match="must not be the source"):
        definitions(target="crm")


def test_a_subclass_can_rename_and_tag_assets() -> None:
    """`get_asset_spec` is the place, as in other Dagster components."""

    class Tagged(SyntheticTable):
        def get_asset_spec(self, plan: Any, step: str, spec: dg.AssetSpec) -> dg.AssetSpec:
            return spec.merge_attributes(tags={"step": step})

    component = Tagged.from_attributes_dict(attributes=MINIMAL)
    graph = dg.build_defs_for_component(component).resolve_asset_graph()

    assert graph.get(dg.AssetKey(["synthetic", "customers", "onnx"])).tags["step"] == "onnx"


def test_the_command_line_scaffolds_a_table(tmp_path: Path) -> None:
    """`dg scaffold defs tabdar_pipeline.SyntheticTable orders`, in a project of someone else's."""
    (tmp_path / "shop" / "defs").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "defs" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "0"\n[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "shop"\n'
    )
    (tmp_path / "shop" / "definitions.py").write_text("")
    command = [
        str(Path(sys.executable).with_name("dg")),
        "scaffold",
        "defs",
        "tabdar_pipeline.SyntheticTable",
        "orders",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    written = tmp_path / "shop" / "defs" / "orders" / "defs.yaml"

    assert done.returncode == 0, done.stderr
    assert "tabdar_pipeline.SyntheticTable" in written.read_text()
