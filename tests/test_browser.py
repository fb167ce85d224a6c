"""What a person sees: the asset graph, a materialization with its plots, the report, in a real browser."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SCREENSHOTS = bool(os.environ.get("TABDAR_SCREENSHOTS"))
STRICT = "policy: {predict: newsletter}"
LENIENT = (
    "policy: {shape_error: 60, trend_error: 60, c2st_boosted: 0.5, utility_gap: 1, dcr_share: 0.5, copies: 1}"
)

pytestmark = chromium.needed


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in which the demo ran for some seconds."""
    root = tmp_path_factory.mktemp("project")
    for name in ("workspace.yaml", "dagster.yaml", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(
        ROOT / "tabdar_pipeline", root / "tabdar_pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    settings = root / "tabdar_pipeline" / "defs" / "customers" / "defs.yaml"
    if not SCREENSHOTS:  # some seconds of training are enough to look at, not to release
        settings.write_text(settings.read_text().replace(STRICT, LENIENT))
    environment = os.environ | {"PYTHONPATH": str(root)}
    if SCREENSHOTS:
        environment.pop("OMP_NUM_THREADS")
    seconds = [] if SCREENSHOTS else ["--seconds", "15"]
    command = [sys.executable, "-m", "tabdar_pipeline", "demo", *seconds]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """The webserver, on loopback."""
    port = chromium.free_port()
    server = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("dagster-webserver")),
            "-w",
            "workspace.yaml",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
        ],
        cwd=project,
        env=os.environ | {"DAGSTER_HOME": str(project / ".dagster"), "PYTHONPATH": str(project)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        chromium.wait_for(f"http://127.0.0.1:{port}/server_info")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def test_the_asset_graph_shows_the_way_to_the_release(browser, address):
    """Every step is a node."""
    browser.get(f"{address}/locations/tabdar-pipeline/asset-groups/synthetic_customers/lineage")
    chromium.see(browser, "Materialize all")
    for text in ("snapshot", "drift", "model", "onnx", "candidate", "report", "customers"):
        chromium.see(browser, text)
    time.sleep(3)
    _keep(browser, "asset-graph")
    chromium.no_errors(browser)


def test_a_materialization_shows_its_plots(browser, address):
    """The learning curve of the model, the columns of the report: pictures that load."""
    for step, entry in (("model", "learning_curve"), ("report", "columns")):
        browser.get(f"{address}/assets/synthetic/customers/{step}?view=events")
        chromium.see(browser, entry)
        row = browser.find_element("xpath", f"//tr[contains(., '{entry}')]")
        row.find_element("xpath", ".//*[text()='[Show Markdown]']").click()
        chromium.wait(browser, lambda it: _loaded_pictures(it) >= 1)
        _keep(browser, f"materialization-{step}")
        chromium.no_errors(browser)


def test_the_report_opens_without_a_network(browser, project):
    """All pictures are inside, none is broken."""
    browser.get((project / ".tabdar" / "synthetic.customers" / "report.html").as_uri())
    chromium.see(browser, "Figures")
    _keep(browser, "report")

    assert _loaded_pictures(browser) >= 4
    chromium.no_errors(browser)


def _loaded_pictures(browser) -> int:
    time.sleep(1)
    return browser.execute_script(
        "return [...document.images].filter(i => i.src.startsWith('data:image/png') && i.complete && i.naturalWidth > 50).length"
    )


def _keep(browser, name: str) -> None:
    """A screenshot, where they are asked for."""
    if SCREENSHOTS:
        IMAGES.mkdir(exist_ok=True)
        browser.save_screenshot(str(IMAGES / f"{name}.png"))
