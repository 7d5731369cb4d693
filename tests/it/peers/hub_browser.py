"""The hub's dashboard in a real browser: every page, wide and narrow, light and dark, with keys alone and without a script.

Usage: hub_browser.py CHROMIUM URL TOKEN OUT DISK MODEL_THAT_DRIFTS HOSPITAL_APART FILE_TO_DECODE HOSPITALS_TOKEN
"""

import importlib.util
import json
import pathlib
import sys

from browser import Browser, check_page


def log_in(browser, origin, token):
    browser.open(f"{origin}/")
    assert browser.js("location.pathname") == "/login"
    browser.js("document.getElementById('token').value = 'wrong'")
    browser.submit("document.querySelector('form.login button').click()")
    assert browser.js("document.querySelector('[role=alert]') != null")
    browser.events = []  # Chromium logs the 401 that was asked for
    browser.js(f"document.getElementById('token').value = {json.dumps(token)}")
    browser.submit("document.querySelector('form.login button').click()")
    assert browser.js("location.pathname") == "/", browser.js("document.body.innerText")
    assert browser.js("document.cookie") == "", "no script sees the session"


def check_recall(browser, origin, model):
    """An admin issues a recall with a form; the model's page says so."""
    browser.open(f"{origin}/incidents")
    browser.js(f"""for (const [id, value] of [['kind', 'recall'], ['model', {json.dumps(model)}], ['cause', 'drift']])
        document.getElementById(id).value = value;
        document.getElementById('text').value = '<script>window.harmed = 1</script>';
        document.getElementById('sure').checked = true;""")
    browser.submit("document.querySelector('form[action=\"/incidents/advisories\"] button').click()")
    assert browser.js("location.pathname") == "/incidents", browser.js("document.body.innerText")[:500]
    assert "<script>window.harmed" in browser.js("document.querySelector('main').innerText"), "shown as it is written"
    assert browser.js("window.harmed") is None
    browser.open(f"{origin}/models/{model}")
    assert "recalled" in browser.js("document.querySelector('h1').innerText")


def check_decoder(browser, origin, file):
    browser.open(f"{origin}/privacy")
    document = browser.call("DOM.getDocument")
    node = browser.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#frame")
    browser.call("DOM.setFileInputFiles", files=[file], nodeId=node["nodeId"])
    browser.submit("document.querySelector('form[enctype] button').click()")
    assert "This is no frame" in browser.js("document.querySelector('main').innerText")


def check_enrolment(browser, axe, origin, out):
    """An admin grants the request that waits; its note can be copied."""
    browser.open(f"{origin}/enrolments")
    form = "form[action$='/grant']"
    browser.js(f"""document.querySelector("{form} input[name=name]").value = 'A clinic of the test';
        document.querySelector("{form} input[name=sure]").checked = true;""")
    browser.submit(f'document.querySelector("{form} button").click()')
    assert browser.js("location.pathname") == "/enrolments", browser.js("document.body.innerText")[:500]
    browser.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert "pericard-enrolment/v1" in browser.js("document.querySelector('textarea[readonly]').value")
    check_page(browser, axe, origin, "enrolment-granted", out)


def check_refusal(browser, axe, origin, name, path, status, out):
    """A page that says no is a page like any other."""
    browser.open(origin + path)
    said = browser.js("document.querySelector('h1').innerText")
    assert said == status, (path, said)
    browser.events = []  # Chromium logs the refusal that was asked for
    check_page(browser, axe, origin, name, out)


def check_hospital(browser, axe, origin, token, hospital, out):
    """What a hospital's own token opens, and what it does not."""
    log_in(browser, origin, token)
    menu = browser.js("[...document.querySelectorAll('nav a')].map((a) => a.innerText)")
    assert menu == ["Overview", "Privacy"], menu
    check_page(browser, axe, origin, "own", out)
    check_print(browser, origin, "/")
    browser.shoot(out / "own-print.png")
    browser.look(1280, 900, "light")
    browser.open(f"{origin}/privacy")
    check_page(browser, axe, origin, "own-privacy", out)
    check_refusal(browser, axe, origin, "refused-role", "/models", "Forbidden", out)
    check_refusal(browser, axe, origin, "refused-hospital", f"/hospitals/{int(hospital) + 1}", "Not Found", out)


def check_print(browser, origin, path):
    """What is folded away on the screen stands on paper."""
    shown = "[...document.querySelectorAll('details table')].map((table) => table.checkVisibility())"
    browser.look(1280, 900, "light")
    browser.open(origin + path)
    folded = browser.js(shown)
    assert folded and not any(folded), (path, "is open on the screen", folded)
    browser.look(794, 1123, "light", media="print")
    printed = browser.js(shown)
    assert len(printed) == len(folded) and all(printed), (path, "is missing on paper", printed)


def main():
    chromium, origin, token, out, disk, model, hospital, file, hospitals_token = sys.argv[1:]
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    package = importlib.util.find_spec("axe_core_python").submodule_search_locations[0]
    axe = (pathlib.Path(package) / "axe.min.js").read_text()
    browser = Browser(chromium, disk)
    try:
        browser.open(f"{origin}/login")
        check_page(browser, axe, origin, "login", out)
        log_in(browser, origin, token)
        pages = {"overview": "/", "models": "/models", "model": f"/models/{model}", "hospitals": "/hospitals",
                 "hospital": f"/hospitals/{hospital}", "incidents": "/incidents", "enrolments": "/enrolments", "evaluations": "/evaluations", "witness": "/witness",
                 "privacy": "/privacy"}
        for name, path in pages.items():
            browser.open(origin + path)
            assert browser.js("location.pathname") == path, (name, "turned away")
            assert browser.js("document.scripts.length") == 0, (name, "needs a script")
            check_page(browser, axe, origin, name, out)
        for name in ["model", "hospital", "evaluations", "privacy"]:
            check_print(browser, origin, pages[name])
            browser.shoot(out / f"{name}-print.png")
        browser.look(1280, 900, "light")
        check_recall(browser, origin, model)
        check_enrolment(browser, axe, origin, out)
        check_decoder(browser, origin, file)
        check_page(browser, axe, origin, "decoded", out)
        assert not browser.complaints(origin)
        browser.submit("document.querySelector('form.out button').click()")
        assert browser.js("location.pathname") == "/login"
        browser.open(f"{origin}/hospitals")
        assert browser.js("location.pathname") == "/login", "the session is over"
        check_hospital(browser, axe, origin, hospitals_token, hospital, out)
    finally:
        browser.end()
    print("ok")


main()
