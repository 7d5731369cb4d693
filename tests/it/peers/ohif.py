"""Our studies in the OHIF viewer: ohif.py CHROMIUM DIST DICOMWEB TOKEN CA OUT DISK STUDY MODALITY...

OHIF as its makers built it, served from loopback beside our DICOMweb (a page of another origin has no business there), in
headless Chromium. The study's image must be drawn, and every series of it listed with its modality; then each result is opened,
and must be seen: a segmentation in colour over the image, a report's outlines over it, a picture with them drawn in. Prints what
was seen; the screenshots are kept in OUT.
"""
import base64, http.server, json, mimetypes, pathlib, ssl, sys, threading, time, urllib.request

chromium, dist, dicomweb, token, ca, out, disk, study, *modalities = sys.argv[1:]
sys.argv = [sys.argv[0]]
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from browser import Browser, Navigated  # noqa: E402

dist, out = pathlib.Path(dist), pathlib.Path(out)
out.mkdir(parents=True, exist_ok=True)
CONFIG = """window.config = {
  routerBasename: null, extensions: [], modes: [], showStudyList: true, maxNumberOfWebWorkers: 1,
  showLoadingIndicator: true, showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false,
  investigationalUseDialog: {option: 'never'}, useSharedArrayBuffer: 'FALSE', disableConfirmationPrompts: true,
  customizationService: [], defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'pericard', name: 'pericard', wadoUriRoot: '/dicomweb', qidoRoot: '/dicomweb', wadoRoot: '/dicomweb',
      qidoSupportsIncludeField: true, imageRendering: 'wadors', thumbnailRendering: 'wadors', enableStudyLazyLoad: true,
      supportsFuzzyMatching: false, supportsWildcard: true, singlepart: 'bulkdata,video,pdf', omitQuotationForMultipartRequest: true,
      bulkDataURI: {enabled: true, relativeResolution: 'studies'},
    },
  }],
};"""
context = ssl.create_default_context(cafile=ca)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
asked, failed = [], []


class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, kind, body):
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Cross-Origin-Opener-Policy", "same-origin"),
                            ("Cross-Origin-Embedder-Policy", "require-corp")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith("/dicomweb/"):
            return self.relay()
        if path == "/app-config.js":
            return self.answer(200, "text/javascript", CONFIG.encode())
        file = dist / path.lstrip("/")
        if not file.is_file():
            file = dist / "index.html"
        kind = "application/wasm" if file.suffix == ".wasm" else mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self.answer(200, kind, file.read_bytes())

    def relay(self):
        asked.append(self.path)
        headers = {"Accept": self.headers.get("Accept", "*/*"), "Authorization": f"Bearer {token}", "Host": self.headers["Host"]}
        request = urllib.request.Request(dicomweb + self.path.removeprefix("/dicomweb"), headers=headers)
        try:
            with opener.open(request, timeout=120) as got:
                # The URLs in the answers name us as OHIF does: by the address that it asked, without encryption.
                body = got.read()
                if "json" in got.headers["Content-Type"]:
                    body = body.replace(b"https://" + self.headers["Host"].encode(), b"http://" + self.headers["Host"].encode())
                self.answer(got.status, got.headers["Content-Type"] or "application/octet-stream", body)
        except urllib.error.HTTPError as error:
            failed.append((self.path, self.headers.get("Accept"), error.code))
            self.answer(error.code, "text/plain", error.read())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
browser = Browser(chromium, disk, ["--use-angle=swiftshader", "--use-gl=angle", "--enable-unsafe-swiftshader", "--no-proxy-server"])
# The canvas of the viewport, read back: it is drawn once it holds many greys. WebGL draws elsewhere and copies into it.
GREYS = """(() => { const canvas = [...document.querySelectorAll('.cornerstone-canvas')][0]; if (!canvas || !canvas.width) return 0;
  const copy = document.createElement('canvas'); copy.width = 100; copy.height = 100; const pen = copy.getContext('2d');
  pen.drawImage(canvas, 0, 0, 100, 100); const data = pen.getImageData(0, 0, 100, 100).data; const seen = new Set();
  for (let i = 0; i < data.length; i += 4) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]); return seen.size; })()"""
DRAWN = 8  # greys: the first slice of a head is mostly air
PATIENCE_S = 170
CLICK_AGAIN_S = 20  # as a person does when nothing comes


# How many of its ten thousand points are in colour.
COLOURED = GREYS.replace("const seen = new Set();", "let seen = 0;").replace(
    "seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]); return seen.size;",
    "seen += Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 40; return seen;")
# How many shapes are drawn over it, as OHIF draws what a report points at.
SHAPES = "document.querySelectorAll('.svg-layer :is(path, polyline, polygon, line, ellipse, rect, circle)').length"
SKIP = "[...document.querySelectorAll('button, a')].find((e) => e.innerText == 'Skip all')"
# What is drawn when a series of that modality is opened: what counts it, and how much more than before of it.
SHOWN = {"SEG": (COLOURED, 20), "OT": (COLOURED, 100), "SR": (SHAPES, 2)}


def show():
    browser.look(1400, 900, "dark")
    browser.call("Page.navigate", url=f"{url}/viewer?StudyInstanceUIDs={study}")
    begun, greys, listed = time.monotonic(), 0, ""
    while greys < DRAWN or not set(modalities) <= set(listed.split()):
        seen = (greys, failed, asked[-5:], listed[:1500])
        assert time.monotonic() - begun < PATIENCE_S, seen
        time.sleep(0.5)
        try:
            greys, listed = browser.js(GREYS) or 0, browser.js("document.body.innerText") or ""
        except Navigated:
            pass
    browser.until(SKIP)
    browser.js(f"{SKIP}.click()")  # the tour for new users, which lies over everything
    browser.until(f"!{SKIP}")
    keep("-".join(modalities))
    assert not failed, failed
    # A report beside a segmentation points at that, and at no place in an image.
    results = [modality for modality in modalities[1:] if not (modality == "SR" and "SEG" in modalities)]
    seen = {modality: opened(modality) for modality in results}
    assert not failed, failed
    ways = ("/metadata", "/frames/", "/thumbnail", "/rendered", "/bulkdata/")
    used = [way for way in ways if any(way in path for path in asked)]
    assert {"/metadata", "/frames/"} <= set(used), (used, asked)
    print(json.dumps({"greys": greys, "seen": seen, "asked": len(asked), "ways": used, "seconds": round(time.monotonic() - begun)}))


def keep(name):
    shot = browser.call("Page.captureScreenshot")["data"]
    (out / f"{name}.png").write_bytes(base64.b64decode(shot))


def click_twice(modality):
    x, y = browser.js(
        f"""(() => {{ const e = [...document.querySelectorAll('[data-cy^="study-browser-thumbnail"]')]
          .find((e) => e.innerText.split(/\\s+/).includes('{modality}')); e.scrollIntoView({{block: 'center'}});
          const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()""")
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)


def opened(modality):
    """Opens a series of that modality as a person does, by a double click on it in the list: what is drawn then, and before."""
    thing, more = SHOWN[modality]
    before = browser.js(thing) or 0
    begun, drawn, clicked = time.monotonic(), 0, None
    while drawn < before + more:
        now = time.monotonic()
        assert now - begun < PATIENCE_S, (modality, before, drawn, failed, asked[-5:])
        if clicked is None or now - clicked > CLICK_AGAIN_S:
            clicked = now
            click_twice(modality)
        time.sleep(0.5)
        drawn = browser.js(thing) or 0
    keep(f"{'-'.join(modalities)}-opened-{modality}")
    return [before, drawn]


try:
    show()
finally:
    browser.end()
