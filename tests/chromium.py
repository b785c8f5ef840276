"""Headless Chromium for tests of pages: it opens files and loopback addresses, and nothing else."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

PROGRAMS = ("chromium", "chromedriver")
ABSENT = [name for name in PROGRAMS if shutil.which(name) is None]
REASON = f"{' and '.join(ABSENT)} absent (Debian: chromium, chromium-driver)"
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


@contextmanager
def opened(profile: Path, dark: bool = False) -> Iterator[WebDriver]:
    """Yield a browser with a profile of its own; what its console says can be asked for."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    if dark:
        options.add_argument("--blink-settings=preferredColorScheme=0")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver")))
    )
    try:
        yield driver
    finally:
        driver.quit()


def resize(driver: WebDriver, width: int, height: int) -> None:
    """Give the page a window of this size, narrower than a real one can be."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def complaints(driver: WebDriver) -> list[str]:
    """Return what the console has said since it was last asked."""
    return [entry["message"] for entry in driver.get_log("browser")]
