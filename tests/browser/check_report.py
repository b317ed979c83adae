#!/usr/bin/env python3
"""Opens a report page in headless Chromium, light and dark, wide and narrow, as a reader would.

It asserts what no reading of the HTML can show: nothing is logged as an error, nothing but the page itself is
requested, every plot has been drawn at a visible size, the two colour schemes differ and can be read, and nothing
runs out of a narrow window. Screenshots are left for people to look at. It knows nothing of what the numbers mean.

usage: check_report.py REPORT.html [--screenshots DIR]
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

from websockets.sync.client import connect

START_SECONDS = 60
"""How long Chromium may take to start on a busy machine."""
SCHEMES = ["light", "dark"]
WIDTHS = {"wide": 1280, "narrow": 390}
LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3, for text of normal size."""

MEASURE = """(() => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
  document.querySelectorAll('details').forEach(e => e.open = true);
  const all = [...document.querySelectorAll('svg')];
  const plots = all.filter(e => e.checkVisibility());
  const opaque = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/^rgba\\(.*, 0\\)$/.test(colour)) return colour;
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? 'rgb(18, 18, 18)' : 'rgb(255, 255, 255)';
  };
  const texts = [...document.querySelectorAll('h1, h2, h3, p, td, th, li, summary, figcaption')]
    .filter(e => e.textContent.trim() && e.getClientRects().length);
  return {
    title: document.title,
    plots: plots.length,
    hidden: all.length - plots.length,
    drawn: plots.filter(e => box(e).every(side => side > 8) && e.querySelector('rect, path, line, circle, polyline, polygon')).length,
    background: opaque(document.body),
    texts: texts.map(e => [getComputedStyle(e).color, opaque(e), e.tagName + ': ' + e.textContent.trim().slice(0, 40)]),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
})()"""


class Page:
    """A page of a running browser, driven over the DevTools protocol; events are kept as they come."""

    def __init__(self, socket):
        self.socket = socket
        self.last_id = 0
        self.events = []

    def call(self, method, **params):
        """Sends a command and returns its result."""
        self.last_id += 1
        self.socket.send(json.dumps({"id": self.last_id, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=START_SECONDS))
            if message.get("id") == self.last_id:
                if "error" in message:
                    raise SystemExit(f"{method}: {message['error']['message']}")
                return message["result"]
            self.events.append(message)

    def wait_for(self, method):
        """Returns once an event of that name has come."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(json.loads(self.socket.recv(timeout=START_SECONDS)))


def find_browser():
    """The browser to use: $SCALEQUEST_CHROMIUM, or the first one on the path."""
    named = os.environ.get("SCALEQUEST_CHROMIUM")
    candidates = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    for name in candidates:
        if path := shutil.which(name):
            return path
    raise SystemExit(f"no browser found (tried {', '.join(candidates)}): run .ci/tools.sh chromium, or set SCALEQUEST_CHROMIUM")


@contextlib.contextmanager
def open_page():
    """A page of a headless browser of its own, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="scalequest-chromium-", ignore_cleanup_errors=True) as profile:
        command = [
            find_browser(), "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}",
            "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
            "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND", "--force-device-scale-factor=1",
            "--hide-scrollbars",
        ]
        if os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium's sandbox refuses to work for root.
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = wait_for_port(browser, pathlib.Path(profile, "DevToolsActivePort"))
            request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
            with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
                target = json.load(answer)
            with connect(target["webSocketDebuggerUrl"], max_size=None, compression=None) as socket:
                yield Page(socket)
        finally:
            browser.terminate()
            try:
                browser.wait(timeout=10)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()


def wait_for_port(browser, file):
    """The port that the browser has written to its profile when it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if browser.poll() is not None:
            raise SystemExit(f"the browser ended with exit code {browser.returncode} before it listened")
        lines = file.read_text().split() if file.exists() else []
        if lines:
            return int(lines[0])
        time.sleep(0.05)
    raise SystemExit(f"the browser did not listen within {START_SECONDS} s")


def contrast(first, second):
    """Contrast ratio of two CSS colours (WCAG 2.2): 1 to 21."""
    def luminance(colour):
        channels = [float(part) / 255 for part in colour[colour.index("(") + 1:-1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def complaints_of(page, url):
    """What the page logged as an error, and every request for anything but itself."""
    complaints = []
    for event in page.events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            words = " ".join(str(arg.get("value", arg.get("description"))) for arg in params["args"])
            complaints.append(f"console {params['type']}: {words}")
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            complaints.append(f"uncaught: {details.get('exception', {}).get('description', details['text'])}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            complaints.append(f"log {params['entry']['level']}: {params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            requested = params["request"]["url"]
            if requested != url and not requested.startswith("data:"):
                complaints.append(f"requested {requested}")
    return complaints


def look(url, scheme, width, screenshot):
    """Opens the page once and returns what was measured, and what is wrong with it."""
    with open_page() as page:
        for domain in ["Page", "Runtime", "Log", "Network"]:
            page.call(f"{domain}.enable")
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        page.call("Page.navigate", url=url)
        page.wait_for("Page.loadEventFired")
        found = page.call("Runtime.evaluate", expression=MEASURE, returnByValue=True)["result"]["value"]
        size = page.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        image = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        if screenshot:
            screenshot.write_bytes(base64.b64decode(image["data"]))
        wrong = complaints_of(page, url)
    if not found["title"].strip():
        wrong.append("the page has no title")
    if found["plots"] == 0:
        wrong.append("there is no visible plot (no svg element)")
    if found["hidden"] and width == max(WIDTHS.values()):
        wrong.append(f"{found['hidden']} plots are hidden in a wide window")
    if found["drawn"] < found["plots"]:
        wrong.append(f"only {found['drawn']} of {found['plots']} plots are drawn at a visible size")
    if found["overflow"] > 0:
        wrong.append(f"the page is {found['overflow']} pixels wider than the window")
    unreadable = [(text, colour, behind) for colour, behind, text in found["texts"] if contrast(colour, behind) < LEAST_CONTRAST]
    for text, colour, behind in unreadable[:5]:
        wrong.append(f"text in {colour} on {behind} has a contrast of {contrast(colour, behind):.1f}, below {LEAST_CONTRAST}: {text!r}")
    return found, wrong


def main():
    parser = argparse.ArgumentParser(description="Opens a report page in headless Chromium and checks what a reader would see.")
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path, help="directory for one PNG per colour scheme and width")
    arguments = parser.parse_args()
    if not arguments.report.is_file():
        raise SystemExit(f"{arguments.report} is not there; publish a dataset first")
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    url = arguments.report.resolve().as_uri()

    passed, failed, backgrounds = 0, 0, {}
    for scheme in SCHEMES:
        for name, width in WIDTHS.items():
            screenshot = arguments.screenshots and arguments.screenshots / f"report-{scheme}-{name}.png"
            found, wrong = look(url, scheme, width, screenshot)
            backgrounds.setdefault(scheme, found["background"])
            print(f"{scheme}, {name}: {found['plots']} plots, {'; '.join(wrong) or 'ok'}")
            passed, failed = (passed, failed + 1) if wrong else (passed + 1, failed)
    if backgrounds["light"] == backgrounds["dark"]:
        print(f"light and dark look the same: both have the background {backgrounds['light']}")
        failed += 1
    else:
        passed += 1
    if arguments.screenshots:
        print(f"screenshots in {arguments.screenshots}")
    print(f"report page: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
