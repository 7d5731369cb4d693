"""The console in a real browser: every page, wide and narrow, light and dark, with keys alone and without a script.

Chromium is driven through its own debugging pipe: no driver, no port, nothing to install beside it.
Usage: browser.py CHROMIUM URL TOKEN OUT DISK STUDY_WITH_TEXT STUDY_WITH_MASK STUDY_WITH_SCRIPT
"""

import base64
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

PATIENCE_S = 120  # when to give up; never a measurement
FOCUS_PATIENCE_S = 10  # until a control that has the focus is drawn so
NAVIGATED = "Inspected target navigated or closed"  # Chromium's words when a page goes while it is asked
SIZES = [(1280, 900), (390, 844)]
SCHEMES = ["light", "dark"]
LONG = "PERICARD_LONG" in os.environ
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
TABBABLE = """[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary, [tabindex="0"]')]
  .filter((e) => e.checkVisibility() && !e.disabled)"""


class Navigated(Exception):
    """The page that was asked was left before it answered."""


class Browser:
    """One tab of one browser."""

    def __init__(self, chromium, folder, more=()):
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--ignore-certificate-errors",
                   "--hide-scrollbars=false", "--remote-debugging-pipe", f"--user-data-dir={folder}", *more, "about:blank"]
        (to_read, self.to), (self.back, from_write) = os.pipe(), os.pipe()

        def pipes():  # the browser reads from 3 and writes to 4
            os.dup2(to_read, 13), os.dup2(from_write, 14), os.dup2(13, 3), os.dup2(14, 4)

        self.process = subprocess.Popen(command, preexec_fn=pipes, close_fds=False, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read), os.close(from_write)
        self.left, self.number, self.session = b"", 0, None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            heard = self.hear()
            if heard.get("id") == self.number:
                if heard.get("error", {}).get("message") == NAVIGATED:
                    raise Navigated(method)
                assert "error" not in heard, (method, heard)
                return heard["result"]
            self.events.append(heard)

    def hear(self):
        while b"\0" not in self.left:
            got = os.read(self.back, 1 << 16)
            assert got, "the browser ended"
            self.left += got
        message, self.left = self.left.split(b"\0", 1)
        return json.loads(message)

    def js(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, (expression[:200], answer)
        return answer["result"].get("value")

    def until(self, expression):
        begun = time.monotonic()
        while not self.holds(expression):
            assert time.monotonic() - begun < PATIENCE_S, (expression, self.js("document.body.innerText")[:2000])
            time.sleep(0.02)

    def holds(self, expression):
        try:
            return self.js(f"Boolean({expression})")
        except Navigated:  # the page that was asked is gone: the next one is asked again
            return False

    def open(self, url):
        self.js("window.before = true")
        self.call("Page.navigate", url=url)
        self.loaded()

    def loaded(self):
        """A new page is there with all its pictures."""
        self.until("!window.before && document.readyState == 'complete' && [...document.images].every((i) => i.complete)")

    def submit(self, expression):
        self.js("window.before = true")
        self.js(f"void {expression}")
        self.loaded()

    def look(self, width, height, scheme, media=""):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def key(self, key, code=0):
        self.call("Input.dispatchKeyEvent", type="rawKeyDown", key=key, code=key, windowsVirtualKeyCode=code)

    def shoot(self, path):
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True,
                         clip={**{k: 0 for k in "xy"}, "width": self.js("innerWidth"), "scale": 1,
                               "height": self.js("document.documentElement.scrollHeight")})
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self, origin):
        """What the browser did not like since the last time, and whatever was asked of anybody else."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown" or method == "Page.javascriptDialogOpening":
                found.append(event)
            if method == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(event)
            if method == "Runtime.consoleAPICalled" and params["type"] == "error":
                found.append(event)
            if method == "Network.requestWillBeSent" and not params["request"]["url"].startswith((origin, "about:", "data:")):
                found.append(event)
        self.events = []
        return found

    def end(self):
        self.process.kill()
        self.process.wait()


def check_keys(browser, name):
    """Every control is reached by the Tab key alone, and shows that it is."""
    wanted = browser.js(f"(window.wanted = {TABBABLE}).length")
    browser.js("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(wanted + 2):
        browser.key("Tab", 9)
        begun = time.monotonic()
        while True:
            at = browser.js(f"(() => {{ const e = document.activeElement, s = getComputedStyle(e);"
                            f" return [window.wanted.indexOf(e), s.outlineStyle != 'none' || e.matches('input[type=range]')]; }})()")
            if at[0] < 0 or at[1] or time.monotonic() - begun > FOCUS_PATIENCE_S:
                break
            time.sleep(0.05)
        if at[0] >= 0:
            assert at[1], (name, "a control does not show that it has the focus", at)
            reached.add(at[0])
    assert len(reached) == wanted, (name, "not reached by keys", set(range(wanted)) - reached)
    return wanted


def check_page(browser, axe, origin, name, out):
    for (width, height) in SIZES:
        for scheme in SCHEMES:
            which = f"{name}-{width}-{scheme}"
            browser.look(width, height, scheme)
            wide = browser.js("document.documentElement.scrollWidth")
            assert wide <= width, (which, "scrolls sideways", wide, browser.js(
                "[...document.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right > innerWidth)"
                ".map((e) => e.outerHTML.slice(0, 120)).slice(0, 5)"))
            # Each layout and each scheme once; in the long form, each with each.
            if LONG or (width, scheme) in [(1280, "light"), (390, "dark")]:
                browser.js(axe)
                broken = browser.js(f"axe.run(document, {json.dumps({'runOnly': RULES})}).then((r) => r.violations.map((v) =>"
                                    " [v.id, v.nodes.map((n) => [n.html.slice(0, 200), n.failureSummary]).slice(0, 3)]))")
                assert not broken, (which, json.dumps(broken, indent=1))
                browser.shoot(out / f"{which}.png")
    browser.look(1280, 900, "light")
    keys = check_keys(browser, name)
    said = browser.complaints(origin)
    assert not said, (name, said)
    print(f"{name}: ok, {keys} controls")


def log_in(browser, origin, token):
    browser.open(f"{origin}/")
    assert browser.js("location.pathname") == "/console/login"
    browser.js(f"document.getElementById('token').value = {json.dumps(token)}")
    browser.submit("document.querySelector('form.login button').click()")
    assert browser.js("location.pathname") == "/", browser.js("document.body.innerText")
    assert browser.js("document.cookie") == "", "no script sees the session"


def check_viewer(browser, origin, study):
    """Frames by keys, wheel and links; the window by dragging; the findings on and off."""
    browser.open(f"{origin}/console/studies/{study}")
    image = lambda: int(browser.js("document.getElementById('viewer').dataset.image"))
    first, last = image(), int(browser.js("document.getElementById('viewer').dataset.images"))
    assert 1 < first < last, "it begins where something was found"
    assert browser.js("document.querySelectorAll('.overlay polygon').length") >= 2
    shown = "document.querySelector('#screen img')"
    assert browser.js(f"{shown}.naturalWidth") == browser.js(f"{shown}.width.baseVal ? 0 : Number({shown}.getAttribute('width'))")

    browser.js("document.getElementById('screen').focus()")
    browser.key("ArrowDown", 40)
    browser.until(f"document.getElementById('viewer').dataset.image == {first + 1}")
    assert browser.js("document.activeElement.id") == "screen", "the focus stays"
    assert f"image={first + 1}" in browser.js("location.search"), "it can be found again"
    place = browser.js("(() => { const r = document.getElementById('screen').getBoundingClientRect();"
                       " return [r.x + r.width / 2, r.y + Math.min(r.height, innerHeight) / 2]; })()")
    mouse = lambda kind, dx=0, dy=0, **more: browser.call(
        "Input.dispatchMouseEvent", type=kind, x=place[0] + dx, y=place[1] + dy, **more)
    mouse("mouseWheel", deltaX=0, deltaY=100)
    browser.until(f"document.getElementById('viewer').dataset.image == {first + 2}")
    before = browser.js("Number(document.getElementById('viewer').dataset.width)")
    mouse("mousePressed", button="left", buttons=1, clickCount=1)
    mouse("mouseMoved", 100, 0, button="left", buttons=1)
    mouse("mouseReleased", 100, 0, button="left")
    browser.until(f"Number(document.getElementById('viewer').dataset.width) > {before}")
    browser.js("document.getElementById('marks').click()")
    assert browser.js("getComputedStyle(document.querySelector('.overlay')).display") == "none"

    # The same without a script: links and forms bring whole pages.
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(f"{origin}/console/studies/{study}?image={first}")
    browser.submit("document.querySelector('.steps a[aria-label=\"Next image\"]').click()")
    assert image() == first + 1
    browser.js("document.getElementById('center').value = 100; document.getElementById('width').value = 50")
    browser.submit("document.querySelector('form.window button').click()")
    assert browser.js("document.getElementById('viewer').dataset.width") == "50" and image() == first + 1
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert not browser.complaints(origin)
    print("viewer: ok")


def check_holds(browser, axe, origin, out):
    """The frame that waits is decoded, held and released; then all are held, those to come too."""
    browser.open(f"{origin}/console/egress")
    row = "document.querySelector('section[aria-labelledby=waiting] tbody tr')"
    press = lambda label: browser.submit(f"document.querySelector('button[aria-label=\"{label}\"]').click()")
    assert "Hold" in browser.js(f"{row}.innerText") and "No hub is enrolled" in browser.js("document.body.innerText")
    press("Hold: frame 1")
    assert browser.js(f"{row}.querySelector('.chip').innerText") == "held", browser.js(f"{row}.innerText")
    check_page(browser, axe, origin, "egress-held", out)
    press("Release: frame 1")
    assert browser.js(f"{row}.querySelector('.chip').innerText") != "held", browser.js(f"{row}.innerText")
    press("Hold all")
    assert "All frames are held" in browser.js("document.querySelector('.say').innerText")
    browser.submit(f"{row}.querySelector('a').click()")
    assert browser.js("document.querySelector('h1').innerText") == "Frame 1"
    check_page(browser, axe, origin, "egress-frame", out)


def main():
    chromium, origin, token, out, disk, text, mask, script = sys.argv[1:]
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    package = importlib.util.find_spec("axe_core_python").submodule_search_locations[0]
    axe = (pathlib.Path(package) / "axe.min.js").read_text()
    browser = Browser(chromium, disk)
    try:
        browser.open(f"{origin}/console/login")
        check_page(browser, axe, origin, "login", out)
        log_in(browser, origin, token)
        pages = {"overview": "/", "worklist": "/console/worklist", "study-text": f"/console/studies/{text}",
                 "study-mask": f"/console/studies/{mask}",
                 "queue": "/console/jobs", "models": "/console/models", "agreement": "/console/models/agreement",
                 "egress": "/console/egress",
                 "audit": "/console/audit", "settings": "/console/settings"}
        for name, path in pages.items():
            browser.open(origin + path)
            assert browser.js("location.pathname") == path, (name, "turned away")
            check_page(browser, axe, origin, name, out)
        check_holds(browser, axe, origin, out)
        browser.open(f"{origin}/console/studies/{script}")
        assert "<script>" in browser.js("document.querySelector('h1').innerText"), "it is shown as it is written"
        assert browser.js("window.harmed") is None
        assert not browser.complaints(origin)
        check_viewer(browser, origin, mask)
        browser.open(f"{origin}/console/studies/{text}")
        browser.look(794, 1123, "light", media="print")
        browser.shoot(out / "study-text-print.png")
        browser.look(1280, 900, "light")
        browser.submit("document.querySelector('form.out button').click()")
        assert browser.js("location.pathname") == "/console/login"
        browser.open(f"{origin}/console/worklist")
        assert browser.js("location.pathname") == "/console/login", "the session is over"
    finally:
        browser.end()
    print("ok")


if __name__ == "__main__":
    main()
