"""What is written runs, is whole, and is up to date."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tabdar_pipeline.components import synthetic_table, table
from tabdar_pipeline.errors import TabdarError
from tabdar_pipeline.warehouse.demo import build_demo

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
BLOCK = re.compile(r"<!-- run -->\n```(sh|python)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
YAML = ROOT / "docs" / "yaml-reference.md"
QUICK = [  # what a test changes in a block: budgets and sizes
    (r"--seconds \d+", "--epochs 1 --threads 1 --device cpu"),
    (r"seconds=\d+", 'epochs=1, threads=1, device="cpu"'),
    (r"--rows \d+", "--rows 300"),
]


def relative(path: Path) -> str:
    """A page's name in the test report."""
    return str(path.relative_to(ROOT))


def quick(text: str) -> str:
    """The block with budgets and sizes of a test."""
    for pattern, words in QUICK:
        text = re.sub(pattern, words, text)
    return text


def load(path: Path):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text("utf-8"))], ids=relative)
def test_examples_run_as_they_are_written(page, tmp_path):
    """The blocks of a page, in order, beside a demo warehouse; only budgets and sizes are smaller."""
    build_demo(tmp_path / ".tabdar" / "demo.duckdb", rows=400)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    for language, text in BLOCK.findall(page.read_text("utf-8")):
        command = ["bash", "-euc", quick(text)] if language == "sh" else [sys.executable, "-c", quick(text)]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert result.returncode == 0, f"{text}\n{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    """Every relative link and image of a page is a file of the project."""
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_first_screen_shows_ten_lines_of_yaml_and_two_commands():
    """README begins with what a user needs to see."""
    first = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:45])
    yaml = re.search(r"```yaml\n(.*?)```", first, re.DOTALL)[1]
    assert len(yaml.splitlines()) <= 11
    assert "make demo" in first
    assert "make test" in first
    assert "made up" in first


def test_the_yaml_of_the_readme_is_accepted():
    """The component takes README's YAML as it is."""
    import yaml

    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]
    attributes = yaml.safe_load(text)["attributes"]
    component = synthetic_table.SyntheticTable.model_validate(attributes)
    assert component.plan(ROOT).target == "synthetic.customers"


def test_every_command_and_option_is_documented():
    """docs/cli.md is what `make docs` writes."""
    script = load(ROOT / "docs" / "cli_reference.py")
    assert script.PAGE.read_text("utf-8") == script.page()


def test_every_field_of_the_component_is_documented():
    """docs/yaml-reference.md names each field, and each field says what it is."""
    text = YAML.read_text("utf-8")
    models = [synthetic_table.SyntheticTable]
    models += [table.Source, table.Train, synthetic_table.Sample, synthetic_table.Policy]
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"
            assert f"`{name}`" in text or f"{name}:" in text, f"{model.__name__}.{name} is not documented"


def test_every_room_has_a_page():
    """One page a room, and the index names it."""
    rooms = {p.parent.name for p in (ROOT / "tabdar_pipeline").glob("*/__init__.py")} - {"components"}
    index = (ROOT / "docs" / "rooms" / "README.md").read_text("utf-8")
    for room in rooms:
        assert (ROOT / "docs" / "rooms" / f"{room}.md").is_file(), room
        assert f"({room}.md)" in index


def test_every_error_is_a_reaction():
    """Each error class says in its docstring what happened and what to do about it."""
    for error in TabdarError.__subclasses__():
        assert ":" in (error.__doc__ or ""), error.__name__
