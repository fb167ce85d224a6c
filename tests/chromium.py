"""What a person does with a browser: look, wait, find no errors. The browser itself is a fixture of conftest."""

import shutil
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

needed = pytest.mark.skipif(
    shutil.which("chromium") is None or shutil.which("chromedriver") is None,
    reason="chromium and chromedriver are not installed (Debian: chromium, chromium-driver)",
)


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(url: str) -> None:
    """Until something answers there."""
    for _ in range(800):
        try:
            urllib.request.urlopen(url, timeout=2).read()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(url)


def see(browser: Any, text: str) -> None:
    """Wait until the page shows a text."""
    from selenium.common.exceptions import TimeoutException

    try:
        wait(browser, lambda it: text in it.find_element("tag name", "body").text)
    except TimeoutException as error:
        shown = browser.find_element("tag name", "body").text
        raise AssertionError(f"{text!r} is not on the page, which shows: {shown}") from error


def wait(browser: Any, condition: Callable[[Any], bool]) -> None:
    """Wait until the page is so."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(condition)


def no_errors(browser: Any) -> None:
    """Nothing severe in the browser's own log."""
    errors = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert not errors, errors
