"""The report page in a real browser: headless Chromium, driven over its DevTools pipe; skipped without one.

AMLA_CHROMIUM names the browser where it is none of the usual commands.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time

import pytest
from amla.sw.report.report_folder import write_pages

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_SECONDS = 30


def _chromium():
    named = os.environ.get("AMLA_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """One tab. Messages are JSON ended by a zero byte, out on descriptor 3 and back on 4 (--remote-debugging-pipe)."""

    def __init__(self, command, profile):
        read_end, self._out = os.pipe()
        self._in, write_end = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{read_end} 4>&{write_end}', "bash", command, "--headless=new", "--no-sandbox",
             "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
             "--disable-background-networking", "--disable-component-update",
             f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"],
            pass_fds=(read_end, write_end), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read_end)
        os.close(write_end)
        self._bytes, self._number, self._session = b"", 0, None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _message(self):
        ends = time.monotonic() + _SECONDS
        while b"\0" not in self._bytes:
            ready, _, _ = select.select([self._in], [], [], max(0, ends - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "the browser has ended"
            self._bytes += chunk
        message, _, self._bytes = self._bytes.partition(b"\0")
        return json.loads(message)

    def call(self, method, **params):
        """Result of a DevTools command; events that come meanwhile are kept."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": params}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._out, json.dumps(request).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message}"
                return message["result"]
            self.events.append(message)

    def open(self, path, *, width=1280, height=800, dark=False):
        """Load a file, offline."""
        self.events.clear()
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=path.resolve().as_uri())
        ends = time.monotonic() + _SECONDS
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            assert time.monotonic() < ends, "the page does not load"
            self.call("Runtime.evaluate", expression="0")
        self.frame()

    def eval(self, expression):
        """Value of a JavaScript expression, promises awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def frame(self):
        """Wait until what is due has been drawn."""
        self.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def mouse(self, kind, x, y, **params):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **params)
        self.frame()

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def complaints(self):
        """Console errors and warnings, exceptions, log entries and requests other than of the file itself."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            complains = params.get("type") in ("error", "warning", "assert")
            if method in ("Runtime.exceptionThrown", "Log.entryAdded") or (
                    method == "Runtime.consoleAPICalled" and complains):
                found.append(params)
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("data:", "file:")):
                    found.append(url)
        return found

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    command = _chromium()
    if command is None:
        pytest.skip(f"no Chromium: none of {', '.join(_NAMES)} is installed and AMLA_CHROMIUM is not set")
    browser = Browser(command, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(results_folder):
    write_pages(results_folder)
    return results_folder / "report.html"


_VIEW = "['first', 'last'].map(key => Number(document.getElementById('plot').dataset[key]))"
_BOX = """(({left, top, width, height}) => [left, top, width, height])(
  document.getElementById('{}').getBoundingClientRect())"""
_COLOURS = """(() => {
  const plot = document.getElementById('plot');
  const copy = new OffscreenCanvas(plot.width, plot.height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(plot, 0, 0);
  const pixels = copy.getImageData(0, 0, plot.width, plot.height).data;
  const found = {};
  for (let i = 0; i < pixels.length; i += 4) {
    const colour = '#' + [0, 1, 2].map(k => pixels[i + k].toString(16).padStart(2, '0')).join('');
    found[colour] = (found[colour] || 0) + 1;
  }
  return found;
})()"""


def _box(browser, element):
    return browser.eval(_BOX.replace("{}", element))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_opens_offline_and_draws_every_stage(browser, page, dark):
    browser.open(page, dark=dark)
    assert browser.complaints() == []
    colours = browser.eval(_COLOURS)
    style = "getComputedStyle(document.documentElement).getPropertyValue('--{}').trim()"
    for stage in ("load", "C1", "V1", "C2", "end"):
        assert colours.get(browser.eval(style.replace("{}", stage)), 0) > 50, stage
    left, top, width, height = _box(browser, "plot")
    assert width > 1100 and left >= 0 and left + width <= 1280
    assert top + height < 800, "the timeline is on the first screen"
    assert browser.eval("document.documentElement.scrollWidth") <= 1280


def test_zoom_and_pan(browser, page):
    browser.open(page)
    first, last = browser.eval(_VIEW)
    left, top, width, _ = _box(browser, "plot")
    x, y = left + width / 2, top + 40
    before = browser.eval(_COLOURS)
    for _ in range(5):
        browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    near = browser.eval(_VIEW)
    assert near[1] - near[0] < (last - first) / 20 and first < near[0] < near[1] < last
    assert browser.eval(_COLOURS) != before
    browser.mouse("mousePressed", x, y, button="left", clickCount=1)
    browser.mouse("mouseMoved", x + 150, y, button="left", buttons=1)
    browser.mouse("mouseReleased", x + 150, y, button="left", clickCount=1)
    panned = browser.eval(_VIEW)
    assert panned[0] < near[0] and panned[1] - panned[0] == pytest.approx(near[1] - near[0])
    browser.eval("document.getElementById('all').click()")
    browser.frame()
    assert browser.eval(_VIEW) == [first, last]
    assert browser.complaints() == []


def test_a_gap_tells_its_reason(browser, page):
    browser.open(page)
    left, top, _, _ = _box(browser, "plot")
    browser.mouse("mouseMoved", left + 80, top + 22 + 2 * 29 + 12)  # the cube, before its first command
    tip = browser.eval("document.getElementById('tip').textContent")
    assert "cube: no command in progress, cycles 0 to" in tip and "L0_READY from feed C1" in tip


def test_bars_and_rows_lead_to_each_other(browser, page):
    browser.open(page)
    browser.eval("document.getElementById('search').value = 'cube MMAD C2'")
    browser.eval("document.getElementById('search').dispatchEvent(new Event('input'))")
    rows = browser.eval("[...document.querySelectorAll('.program tbody tr')].map(row => row.textContent)")
    assert rows and all("MMAD" in row and "C2" in row for row in rows)
    browser.eval("document.querySelector('.program tbody tr').click()")
    browser.frame()
    first, last = browser.eval(_VIEW)
    assert last - first < 0.9 * browser.eval("JSON.parse(document.getElementById('data').textContent).cycles")
    # The bar chosen is in the middle of the view now: its row comes back after a click on it.
    browser.eval("document.getElementById('search').value = 'vector'")
    browser.eval("document.getElementById('search').dispatchEvent(new Event('input'))")
    left, top, width, _ = _box(browser, "plot")
    x, y = left + 78 + (width - 88) / 2, top + 22 + 2 * 29 + 12
    browser.mouse("mouseMoved", x, y)
    tip = browser.eval("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
    assert "MMAD" in tip and "cycles" in tip and "C2" in tip
    browser.click(x, y)
    chosen = browser.eval("document.querySelector('.program tr.chosen').textContent")
    assert "MMAD" in chosen and browser.complaints() == []
