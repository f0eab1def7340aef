"""The page in a real browser: quiet, self-contained, harmless, on a phone, by keyboard, on paper."""

import os
import re
import time

import browser
import made_up
import pytest

from reasoner.reporting.pages import write, write_pair


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A finished run full of hostile text, two runs side by side, and a run in progress."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONER_RUNS", str(folder))
        whole, other = made_up.run(folder, "whole"), made_up.run(folder, "other", seed=1, right=0.6)
        under_way = made_up.run(folder, "under-way", finished=False)
        write(whole)
        write(under_way)
        both = write_pair((whole.name, other.name))
    return {
        "whole": whole.path / "report.html", "both": both, "under way": under_way.path / "report.html",
    }  # fmt: skip


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    program = browser.find()
    if program is None:
        why = f"no Chromium here ({', '.join(browser.NAMES)}): apt-get install --no-install-recommends chromium"
        pytest.fail(why, pytrace=False) if os.environ.get("CI") else pytest.skip(why)
    with browser.Browser(program, tmp_path_factory.mktemp("profile")) as found:
        yield found


NAMES = ("whole", "both", "under way")
COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


def requests(chromium):
    return {one["request"]["url"] for one in chromium.methods("Network.requestWillBeSent")}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_quiet_and_asks_for_nothing(chromium, pages, name):
    chromium.open(pages[name])
    chromium.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert chromium.methods(*COMPLAINTS) == []
    assert requests(chromium) == {pages[name].as_uri()}
    assert chromium.run("document.scripts.length") == 0


def test_what_a_model_wrote_is_read_and_does_nothing(chromium, pages):
    chromium.open(pages["whole"])
    assert re.fullmatch(r"whole: \+[\d.]+ points", chromium.run("document.title"))
    text = chromium.run("document.body.textContent")
    assert "<script>document.title='owned'</script>" in text and "[U+202E]right to left" in text
    assert not {"\x1b", "\u202e", "\u2066", "\x00"} & set(text)
    assert chromium.run("document.querySelectorAll('img, iframe, object, a:not([href^=\"#\"])').length") == 0
    # marks that pile up and words without end stay in their box
    assert chromium.run(
        "[...document.querySelectorAll('.said')].every(one => one.scrollWidth <= one.clientWidth"
        " && getComputedStyle(one).contain == 'paint' && getComputedStyle(one).unicodeBidi == 'plaintext')"
    )


def test_the_policy_holds_even_where_markup_gets_in(chromium, pages, tmp_path):
    hostile = (
        "<body><script>document.title='owned'</script><img src='http://127.0.0.1:9/x.png' onerror=\"document.title="
        "'owned'\"><style>body{display:none}</style><iframe src='http://127.0.0.1:9/'></iframe>"
    )
    broken = tmp_path / "broken.html"
    broken.write_text(pages["whole"].read_text(encoding="utf-8").replace("<body>", hostile, 1), encoding="utf-8")
    chromium.open(broken)
    assert "owned" not in chromium.run("document.title")
    assert chromium.run("getComputedStyle(document.body).display") == "block"
    failed = chromium.methods("Network.loadingFailed")
    assert len(failed) == 2
    assert all("csp" in f"{one.get('blockedReason')} {one['errorText']}".lower() for one in failed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_never_scrolls_sideways(chromium, pages, name, width):
    chromium.open(pages[name], width, 740)
    chromium.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert chromium.run("innerWidth") == width
    assert chromium.run("document.documentElement.scrollWidth") == width
    wide = chromium.run(
        "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth).length"
    )
    assert wide > 0 or name == "under way"


def test_the_keyboard_reaches_and_opens_every_part(chromium, pages):
    chromium.open(pages["whole"])
    summaries = chromium.run("document.querySelectorAll('summary').length")
    stops = chromium.run("document.querySelectorAll('a, summary, [tabindex]').length")
    reached = 0
    for _ in range(stops):
        chromium.press("Tab")
        focused = "document.activeElement"
        assert chromium.run(f"getComputedStyle({focused}).outline").endswith(" solid 2px")
        if chromium.run(f"{focused}.tagName") == "SUMMARY":
            reached += 1
            before = chromium.run(f"{focused}.parentNode.open")
            if not before:
                chromium.press("Enter", text="\r")
                assert chromium.run(f"{focused}.parentNode.open")
    assert reached == summaries > 5
    assert chromium.run("[...document.querySelectorAll('details')].every(one => one.open)")


CONTRAST = """(() => {
  const light = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255);
    const [r, g, b] = parts.map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const texts = [...document.querySelectorAll('p, th, td, h1, h2, h3, h4, span, a, pre, summary, figcaption, svg text')]
    .filter(one => !one.classList.contains('on-dot') && !one.closest('.warning'));
  const of = one => light(getComputedStyle(one)[one.tagName == 'text' ? 'fill' : 'color']);
  return Math.min(...texts.map(of).map(ink => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)));
})()"""


@pytest.mark.parametrize("is_dark", [False, True])
def test_light_and_dark_are_readable(chromium, pages, is_dark):
    chromium.open(pages["whole"], is_dark=is_dark)
    paper = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", paper))) < 60) == is_dark
    assert chromium.run(CONTRAST) >= 4.5


def test_on_paper_everything_is_open(chromium, pages, tmp_path):
    chromium.open(pages["whole"])
    closed = "[...document.querySelectorAll('details:not([open]) pre')]"
    assert chromium.run(f"{closed}.length > 0 && {closed}.every(one => !one.checkVisibility())")
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert chromium.run(f"{closed}.every(one => one.getBoundingClientRect().height > 0)")
    chromium.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_a_live_page_reads_itself_again(chromium, pages, tmp_path):
    path = tmp_path / "live.html"
    text = pages["under way"].read_text(encoding="utf-8")
    again = '<meta http-equiv="refresh" content="1">'
    path.write_text(text.replace("<title>", f"{again}<title>", 1), encoding="utf-8")
    chromium.open(path)
    assert "20 of 40" in chromium.run("document.body.textContent")
    path.write_text(text.replace("20 of 40", "21 of 40"), encoding="utf-8")
    end = time.monotonic() + 10
    while "21 of 40" not in chromium.run("document.body ? document.body.textContent : ''"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert chromium.methods(*COMPLAINTS) == []
