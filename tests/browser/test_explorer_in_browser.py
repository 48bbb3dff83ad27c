"""The explorer in a headless Chromium, as a reader uses it: pointer and keyboard."""

import io
import shutil
from itertools import product
from urllib.parse import parse_qs

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from softjet.figures.explorer import FACTS, write_explorer

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt install chromium)")

LAYERS, HEADS, N = 3, 4, 9
NAME = "</script><b id=intruder>.root"
SHARP, FLAT = 1, 3
"""Heads: in one every query looks at particle 0 (and that at 4), in the other at all alike."""


def tables(jets):
    """Jets of classes in turn; weights are the softmax of the logits."""
    generator = np.random.default_rng(3)
    maps, particles, facts = [], [], []
    for jet in range(jets):
        bias = 0.3 * generator.normal(size=(HEADS, N, N))
        for layer, head in product(range(LAYERS), range(HEADS)):
            qk = generator.normal(size=(N, N))
            if head == FLAT:
                qk, bias[head] = np.zeros((N, N)), 0
            if head == SHARP:
                qk[:, 0] += 8
                qk[0] = 9.0 * (np.arange(N) == 4)
            weights = np.exp(qk + bias[head])
            weights /= weights.sum(-1, keepdims=True)
            row = {"jet": jet, "label": jet % 10, "layer": layer, "head": head, "n": N}
            maps.append(row | {"weights": weights.ravel(), "qk": qk.ravel(), "bias": bias[head].ravel()})
        particles.append(
            pd.DataFrame(
                {
                    "jet": jet, "label": jet % 10, "particle": range(N), "pt": 200 * 0.7 ** np.arange(N),
                    "deta": 0.3 * np.cos(np.arange(N)), "dphi": 0.3 * np.sin(np.arange(N)),
                    "identity": np.arange(N) % 6 - 1, "subjet": np.arange(N) % (1 + jet % 3),
                }
            )
        )  # fmt: skip
        facts.append({"jet": jet, "source": NAME, "entry": 100 + jet, "pt": 600.0,
                      "mass": 120.0, "sdmass": 110.0, "predicted": "Hbb", "probability": 0.8})  # fmt: skip
    return pd.DataFrame(maps), pd.concat(particles), pd.DataFrame(facts)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    target = tmp_path_factory.mktemp("explorer") / "page.html"
    write_explorer(target, "small on made-up jets", *tables(12))
    return f"file://{target}"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        # Root, as in a container, cannot use Chromium's sandbox; the page is our own.
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Open the page at a hash; in the end nothing may have gone wrong or left the machine."""
    complaints, requests, contexts = [], [], []

    def open_at(part="", address=address, **options):
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address + part)
        page.wait_for_selector("html[data-opened]")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []
    assert all(url.startswith("file://") for url in requests)
    assert len(requests) == len(contexts)


def state(page):
    return {name: values[0] for name, values in parse_qs(page.url.split("#")[1]).items()}


def wait_for(page, **wanted):
    """Until the address says so: it is written when the view is drawn."""
    script = "wanted => { const now = new URLSearchParams(location.hash.slice(1));"
    script += " return Object.entries(wanted).every(([name, value]) => now.get(name) === value); }"
    page.wait_for_function(script, arg=wanted)


def finding(page):
    return page.inner_text("#finding")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def pairs(page):
    """Query and key of each arrow that is drawn."""
    script = "lines => lines.map(line => [+line.dataset.query, +line.dataset.key])"
    return {tuple(pair) for pair in page.eval_on_selector_all("#plane .pair", script)}


def over_cell(page, query, key):
    """Move the pointer onto a cell of the heat map: labels take 38 pixels left, 28 above."""
    box = page.locator("#map").bounding_box()
    cell = min(box["width"] - 42, box["height"] - 60) / N
    page.mouse.move(box["x"] + 38 + (key + 0.5) * cell, box["y"] + 28 + (query + 0.5) * cell)


def test_opens_quickly_and_shows_a_jet(visit):
    page = visit()
    print(f"opened after {page.evaluate('document.documentElement.dataset.opened')} ms")
    assert page.locator("#plane .particle").count() == N
    assert "Hbb jet · 9 particles · pT 600 GeV" in page.inner_text("#facts")
    assert "taken for Hbb (80 %)" in page.inner_text("#facts")


def test_opens_with_the_sharpest_head(visit):
    page = visit()
    assert state(page) | {"layer": "2", "head": "1", "threshold": "0.20", "show": "weights"} == state(page)
    assert pairs(page) == {(0, 4), *((query, 0) for query in range(1, N))}


def test_choose_class_jet_layer_head_threshold_and_part(visit):
    page = visit()
    page.select_option("#class", "Hgg")
    wait_for(page, **{"class": "Hgg", "jet": "3"})
    assert page.locator("#jet option").count() == 1
    page.select_option("#class", "all")
    page.select_option("#jet", "7")
    wait_for(page, jet="7")
    page.select_option("#layer", "0")
    page.select_option("#head", "1")
    page.fill("#threshold", "0.9")
    page.click("[data-show=qk]")
    wait_for(page, jet="7", layer="0", head="1", threshold="0.90", show="qk")
    assert "Layer 0, head 1" in finding(page)
    assert "QK logits" in page.inner_text("#map-caption")


def test_a_click_in_the_overview_chooses_layer_and_head(visit):
    page = visit()
    page.click('#heads [data-layer="1"][data-head="2"]')
    wait_for(page, layer="1", head="2")
    assert page.get_attribute('#heads [data-layer="1"][data-head="2"]', "aria-pressed") == "true"


def test_nothing_above_the_threshold_is_said_in_words(visit):
    page = visit(f"#layer=1&head={FLAT}&threshold=0.9")
    assert "no weight above 0.90 on another particle in this head; the largest is 0.11" in finding(page)
    assert pairs(page) == set()


def test_lines_are_solid_within_a_subjet_and_dotted_between(visit):
    page = visit("#jet=1&head=1")
    assert "4 of them between subjets" in finding(page)
    script = "lines => lines.map(line => [+line.dataset.query + +line.dataset.key, line.dataset.between])"
    drawn = page.eval_on_selector_all("#plane .pair", script)
    assert {between == "true" for ends, between in drawn if ends % 2} == {True}
    assert {between == "true" for ends, between in drawn if not ends % 2} == {False}
    dashes = "line => line.querySelector('path').getAttribute('stroke-dasharray')"
    assert page.eval_on_selector('#plane .pair[data-between="false"]', dashes) == "none"
    assert page.eval_on_selector('#plane .pair[data-between="true"]', dashes) != "none"


def test_hover_over_a_particle_tells_of_it_and_marks_it_in_both(visit):
    page = visit("#jet=1&head=1")
    before = page.locator("#map").screenshot()
    page.hover('[data-particle="5"]')
    details = page.inner_text("#details")
    for text in ("particle 5", "33.6 GeV", "strongest key", "0 (unknown)", "subjet", "Δη, Δφ"):
        assert text in details, text
    lit = page.eval_on_selector_all("#plane .pair.on", "all => all.map(line => line.dataset.query)")
    assert lit == ["5"]
    assert page.locator("#map").screenshot() != before
    page.mouse.move(2, 2)
    assert "Point at a particle" in page.inner_text("#details")
    assert page.locator("#map").screenshot() == before


def test_hover_over_a_cell_tells_of_the_pair_and_marks_it_in_both(visit):
    page = visit("#jet=1&head=1")
    over_cell(page, 0, 4)
    details = page.inner_text("#details")
    assert "0 → 4" in details
    assert "0.99" in details
    assert page.locator("#plane .particle.on").count() == 2
    assert page.locator('#plane .pair.on[data-query="0"][data-key="4"]').count() == 1
    over_cell(page, 3, 7)
    assert page.locator('#plane .extra[data-query="3"][data-key="7"]').count() == 1


def test_numbers_of_a_cell_are_those_of_the_table(visit):
    page = visit("#jet=4&layer=1&head=2")
    over_cell(page, 6, 2)
    maps, *_ = tables(12)
    row = maps[(maps.jet == 4) & (maps.layer == 1) & (maps["head"] == 2)].iloc[0]
    details = page.inner_text("#details").replace("−", "-").split("\n")
    shown = {name: float(details[details.index(name) + 1].split()[0]) for name in ("weight", "QK", "U")}
    wanted = {"weight": row.weights, "QK": row.qk, "U": row.bias}
    for name, values in wanted.items():
        # Half a step of the rounding and half a digit.
        assert shown[name] == pytest.approx(values[6 * N + 2], abs=1 / 256 + 0.005), name
    assert shown["U"] < 0 or shown["QK"] < 0


def test_steps_by_keyboard(visit):
    page = visit("#jet=1&layer=1&head=1&threshold=0.2")
    press(page, "ArrowRight", "ArrowRight", "ArrowLeft")
    wait_for(page, jet="2")
    press(page, "ArrowUp")
    wait_for(page, layer="2")
    press(page, "ArrowUp")
    wait_for(page, layer="0")
    press(page, "ArrowDown", "]", "]", "[")
    wait_for(page, layer="2", head="2")
    press(page, "+", "+", "-")
    wait_for(page, threshold="0.25")
    press(page, " ")
    wait_for(page, show="sum")
    press(page, " ")
    wait_for(page, show="weights")


def test_keys_reach_the_page_after_a_click_on_a_control(visit):
    page = visit("#jet=1")
    page.click("[data-show=u]")
    press(page, "ArrowRight", " ")
    wait_for(page, jet="2", show="weights")
    press(page, " ")
    wait_for(page, show="u")


def test_help_opens_and_closes(visit):
    page = visit()
    press(page, "?")
    assert page.is_visible("#help")
    assert "1/128" in page.inner_text("#help")
    press(page, "?")
    assert page.is_hidden("#help")


def test_pinned_query_shows_its_lines_only_and_escape_unpins(visit):
    page = visit("#jet=1&head=1")
    page.click('[data-particle="3"]')
    wait_for(page, query="3")
    assert pairs(page) == {(3, 0)}
    assert "query 3 puts more than 0.20 on one other particle" in finding(page)
    page.mouse.move(2, 2)
    assert "Pinned query: photon, particle 3" in page.inner_text("#details")
    press(page, "Escape")
    page.wait_for_function("!location.hash.includes('query')")
    assert len(pairs(page)) == N
    over_cell(page, 6, 2)
    page.mouse.down()
    page.mouse.up()
    wait_for(page, query="6")


def test_particles_are_reached_by_keyboard(visit):
    page = visit("#jet=1&head=1")
    page.focus('[data-particle="0"]')
    press(page, "Tab")
    assert "particle 1" in page.inner_text("#details")
    press(page, "Enter")
    wait_for(page, query="1")
    assert page.get_attribute('[data-particle="1"]', "aria-pressed") == "true"
    assert "charged hadron" in page.get_attribute('[data-particle="1"]', "aria-label")


def test_address_brings_the_view_back(visit):
    page = visit("#jet=4&class=all&layer=0&head=2&threshold=0.35&show=u&query=5")
    again = visit(f"#{page.url.split('#')[1]}")
    wanted = {"jet": "4", "class": "all", "layer": "0", "head": "2", "threshold": "0.35"}
    assert state(page) == state(again) == wanted | {"show": "u", "query": "5"}
    page.goto(page.url.replace("jet=4", "jet=9"))
    wait_for(page, jet="9", query="5")


def test_nonsense_in_the_address_is_left_aside(visit):
    page = visit("#jet=99&layer=7&head=-1&threshold=abc&show=constructor&class=<b>&query=1e9")
    assert state(page)["layer"] == "2"
    assert state(page)["show"] == "weights"


def test_a_file_name_stays_text(visit):
    page = visit()
    assert NAME in page.inner_text("#origin")
    assert page.locator("#intruder").count() == 0


@pytest.fixture
def page_without(visit, tmp_path):
    """Open a page of jets that lack some facts."""

    def open_with(**facts):
        maps, particles, known = tables(2)
        write_explorer(tmp_path / "page.html", "facts missing", maps, particles, known.assign(**facts))
        return visit("#jet=0", address=f"file://{tmp_path}/page.html")

    return open_with


@pytest.mark.parametrize("sdmass", [np.nan, np.inf])
def test_a_jet_without_a_soft_drop_mass_shows_its_other_facts(page_without, sdmass):
    page = page_without(sdmass=[sdmass, 80.0])
    assert page.inner_text("#facts").endswith("pT 600 GeV · mass 120 GeV · taken for Hbb (80 %)")
    press(page, "ArrowRight")
    wait_for(page, jet="1")
    assert "mass 120 GeV (soft drop 80)" in page.inner_text("#facts")


@pytest.mark.parametrize(
    ("fact", "facts", "origin"),
    [
        ("source", "pT 600 GeV · mass 120 GeV (soft drop 110) · taken for Hbb (80 %)", "sample. Layers"),
        ("entry", "pT 600 GeV · mass 120 GeV (soft drop 110) · taken for Hbb (80 %)", f"from {NAME}. Layers"),
        ("pt", "mass 120 GeV (soft drop 110) · taken for Hbb (80 %)", "entry 100"),
        ("mass", "pT 600 GeV · soft-drop mass 110 GeV · taken for Hbb (80 %)", "entry 100"),
        ("predicted", "pT 600 GeV · mass 120 GeV (soft drop 110)", "entry 100"),
        ("probability", "pT 600 GeV · mass 120 GeV (soft drop 110) · taken for Hbb", "entry 100"),
    ],
)
def test_each_fact_may_be_missing(page_without, fact, facts, origin):
    page = page_without(**{fact: None if fact in ("source", "predicted") else np.nan})
    assert page.inner_text("#facts") == f"QCD jet · 9 particles · {facts}"
    assert origin in page.inner_text("#origin")


def test_a_jet_of_which_nothing_is_known_is_drawn(page_without):
    page = page_without(source=None, predicted=None, **dict.fromkeys(FACTS[1:5] + FACTS[6:], np.nan))
    assert page.inner_text("#facts") == "QCD jet · 9 particles"
    assert page.inner_text("#origin").startswith("Jet 0 of the sample. Layers")
    assert page.locator("#plane .particle").count() == N


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_neither_picture_is_blank(visit, scheme):
    page = visit("#jet=1&head=1", color_scheme=scheme)
    for part in ("#plane", "#map", "body"):
        pixels = matplotlib.image.imread(io.BytesIO(page.locator(part).screenshot()))[..., :3]
        colours = np.unique((255 * pixels).astype(np.int32) @ [65536, 256, 1])
        assert len(colours) > 50, part
    # Mean lightness of the page tells the schemes apart.
    assert (pixels.mean() > 0.5) == (scheme == "light")


def test_wheel_and_key_zoom_into_the_plane(visit):
    page = visit("#jet=1&head=1")

    def spread():
        script = "all => all.map(one => one.transform.baseVal[0].matrix.e)"
        return np.ptp(page.eval_on_selector_all("#plane .particle", script))

    before = spread()
    press(page, "z")
    assert spread() == pytest.approx(2 * before)
    press(page, "z", "z")
    assert spread() == pytest.approx(before)
    page.hover("#plane", position={"x": 200, "y": 200})
    page.mouse.wheel(0, -200)
    page.wait_for_function("document.querySelector('#plane text').textContent !== ''")
    assert spread() > before
