"""The report's page in a real browser: it draws, tells of tokens, fits a phone, reads without scripts or network."""

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from made_runs import make_run

from trainer.reporting.page import Limits, page
from trainer.reporting.runs import read_runs

CHROMIUM = shutil.which("chromium")
EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TOKEN = ".panel-0 .sample.current .tokens span"
CARD = "#token-card"
CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const light = (colour) => {
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const tokens = document.querySelector(".tokens");
    return ["p", "n"].flatMap((sign) => [...Array(21).keys()].map((level) => {
        const span = document.createElement("span");
        span.className = sign + level;
        tokens.append(span);
        const pair = [light(getComputedStyle(span).color), light(getComputedStyle(span).backgroundColor)];
        span.remove();
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Debian's Chromium, headless; without it the tests are skipped, in CI they fail."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        missing = "there is no chromium; type apt-get install chromium"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> Callable[..., Path]:
    """The file of a report of runs that are made to order, once for each order."""
    folder, made = tmp_path_factory.mktemp("reports"), {}

    def report(**orders: dict) -> Path:
        key = repr(orders)
        if key not in made:
            place = folder / str(len(made))
            runs = [str(make_run(place / name, **order)) for name, order in orders.items()]
            made[key] = place / "report.html"
            made[key].write_text(page(read_runs(runs), Limits(samples=6, changes=3)), encoding="utf-8")
        return made[key]

    return report


@pytest.fixture
def opened(browser) -> Iterator[Callable]:
    """Opens a file and waits for its curves; whatever the console or the network sees afterwards fails the test."""
    contexts, seen = [], []

    def open_page(file: Path, *, ready: bool = True, **options):
        contexts.append(browser.new_context(**{"viewport": DESKTOP, **options}))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: seen.append(message.text))
        tab.on("pageerror", lambda error: seen.append(str(error)))
        tab.on("request", lambda request: request.url.startswith("file:") or seen.append(request.url))
        tab.goto(file.as_uri())
        if ready:
            tab.wait_for_selector("html[data-curves=drawn][data-tokens=read]")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert seen == []


def test_every_curve_is_drawn_and_nothing_is_asked_of_a_network(opened, reports):
    tab = opened(reports(sdft={}))
    titles = tab.locator(".chart h3").all_inner_texts()
    assert titles[:2] == ["Loss nats a token", "Divergence nats a token"]
    assert tab.locator(".plot .main-svg").count() >= len(titles) == 11
    assert tab.locator(".plot").evaluate_all("plots => plots.every(p => p.querySelector('path.js-line, path.js-fill'))")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_the_page_without_scrolling_sideways(opened, reports, theme):
    file = reports(sdft={}, sft={"objective": "sft"}, served={"objective": "served"})
    tab = opened(file, viewport=PHONE, color_scheme=theme, is_mobile=True, has_touch=True)
    tab.locator("details").evaluate_all("all => all.forEach(d => d.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.locator(".side").evaluate("t => t.parentElement.scrollWidth > t.parentElement.clientWidth")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_tokens_stay_readable_on_every_colour(opened, reports, theme):
    tab = opened(reports(sdft={}), color_scheme=theme)
    contrasts = tab.evaluate(CONTRASTS)
    assert len(contrasts) == 42 and min(contrasts) >= 4.5


def test_pointing_at_a_token_shows_its_divergence_and_what_both_put_first(opened, reports):
    tab = opened(reports(sdft={}))
    tab.locator(TOKEN).nth(4).hover()
    said = tab.locator(CARD).inner_text()
    assert "weather" in said and " nats" in said
    assert "55.0 %" in said.split("Teacher")[0] and "5.0 %" in said.split("Teacher")[1]
    assert tab.locator(f"{CARD} .top-token.same").count() == 2
    tab.mouse.move(5, 5)
    assert tab.locator(CARD).is_hidden()


def test_a_tap_shows_a_token_too_beside_and_not_over_it(opened, reports):
    tab = opened(reports(sdft={}), viewport=PHONE, is_mobile=True, has_touch=True)
    token = tab.locator(TOKEN).nth(6)
    token.tap()
    card, box = tab.locator(CARD).bounding_box(), token.bounding_box()
    assert card["y"] >= box["y"] + box["height"] or card["y"] + card["height"] <= box["y"]
    assert card["x"] >= 0 and card["x"] + card["width"] <= 390
    tab.locator("#answers h2").tap()
    assert tab.locator(CARD).is_hidden()


def test_arrow_keys_go_from_token_to_token_and_escape_ends_it(opened, reports):
    tab = opened(reports(sdft={}))
    tab.locator(".sample.current .tokens").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        tab.keyboard.press(key)
    assert tab.locator(f"{CARD} .said code").inner_text() == "·get"
    tab.keyboard.press("ArrowLeft")
    assert "not in the loss" in tab.locator(CARD).inner_text()
    tab.keyboard.press("Escape")
    assert tab.locator(CARD).is_hidden()


def test_tokens_without_tops_still_say_their_divergence(opened, reports):
    tab = opened(reports(sdft={"tops": False}))
    tab.locator(TOKEN).nth(3).hover()
    assert tab.locator(CARD).inner_text().split() == ["_", "-0.8", "nats"]


def test_the_slider_and_the_arrows_show_one_sample_after_the_other(opened, reports):
    tab = opened(reports(sdft={"samples": 5, "steps": 29}))
    shown = tab.locator(".sample:visible figcaption b")
    assert shown.all_inner_texts() == ["1"]
    tab.locator(".stepper .on").click()
    assert shown.all_inner_texts() == ["8"]
    tab.locator(".stepper input").press("End")
    assert shown.all_inner_texts() == ["29"]
    tab.locator(".stepper .on").click()
    assert shown.all_inner_texts() == ["29"]


def test_a_run_is_taken_out_of_all_curves_and_put_back(opened, reports):
    tab = opened(reports(sdft={}, sft={"objective": "sft"}))
    drawn = "plots => plots.map(p => p.data.filter(t => t.visible !== false && t.name.startsWith('sft')).length)"
    button = tab.locator("#curves .run", has_text="sft")
    assert sum(tab.locator(".plot").evaluate_all(drawn)) > 0
    button.click()
    assert sum(tab.locator(".plot").evaluate_all(drawn)) == 0 and button.get_attribute("aria-pressed") == "false"
    button.click()
    assert sum(tab.locator(".plot").evaluate_all(drawn)) > 0


def test_a_line_is_taken_out_of_its_chart_by_its_legend(opened, reports):
    tab = opened(reports(sdft={}))
    chart = tab.locator(".chart", has_text="Divergence")
    chart.locator("button", has_text="KL(student").click()
    visible = chart.locator(".plot").evaluate("p => p.data.filter(t => t.visible).map(t => t.name)")
    assert set(visible) == {"KL(teacher ‖ student)"}


def test_smoothing_draws_a_calmer_curve_that_does_not_lag_and_can_be_turned_off(opened, reports):
    tab = opened(reports(sdft={"steps": 200}))
    lines = "document.querySelector('.plot').data.map(t => [...t.y])"
    tab.locator("#smoothing").press("End")
    raw, smooth = tab.evaluate(lines)
    wobble = [sum(abs(b - a) for a, b in pairwise(y)) for y in (raw, smooth)]
    assert wobble[1] < 0.8 * wobble[0]
    assert abs(smooth[100] - sum(raw[90:111]) / 21) < 0.05
    tab.locator("#smoothing").press("Home")
    assert tab.evaluate(lines) == [raw]


def test_the_theme_can_be_chosen_and_the_curves_follow(opened, reports):
    tab = opened(reports(sdft={}), color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "document.querySelector('.plot').layout.font.color"
    dark = tab.evaluate(paper), tab.evaluate(ink)
    tab.get_by_label("light").check(force=True)
    light = tab.evaluate(paper), tab.evaluate(ink)
    assert light[0] == "rgb(250, 250, 248)" and light != dark
    tab.get_by_label("dark").check(force=True)
    assert (tab.evaluate(paper), tab.evaluate(ink)) == dark


def test_changed_answers_are_filtered_by_their_rows(opened, reports):
    tab = opened(reports(sdft={}))
    assert tab.locator(".changed:visible").count() == 6
    tab.get_by_label("Prior skills").check(force=True)
    texts = tab.locator(".changed:visible header").all_inner_texts()
    assert len(texts) == 3 and all(text.startswith("Prior skills") for text in texts)


def test_only_the_chosen_runs_tokens_are_shown(opened, reports):
    tab = opened(reports(sdft={}, sft={"objective": "sft"}))
    tab.locator("#tokens label", has_text="sft").click()
    assert tab.locator(".sample:visible").count() == 0
    assert tab.locator("#tokens .panel:visible").inner_text().startswith("sft: sft learns given texts")


def test_the_page_can_be_read_without_scripts(opened, reports):
    tab = opened(reports(sdft={}), ready=False, java_script_enabled=False)
    text = tab.locator("main").inner_text()
    for said in ("75.0\xa0%", "[+60.0, +87.5]", "The curves need JavaScript", "Came right", "Environment"):
        assert said in text
    assert tab.locator(".sample:visible").count() == 5
    assert tab.locator(".stepper:visible, .controls:visible").count() == 0


def test_scripts_in_the_data_do_not_run(opened, reports):
    tab = opened(
        reports(**{"<img src=x onerror='window.evil = 1'>": {"text": EVIL, "config": {"note": EVIL}}, "b": {}})
    )
    tab.locator(TOKEN).last.hover()
    assert EVIL.replace(" ", "·") in tab.locator(CARD).inner_text()
    tab.locator(".plot").first.hover()
    assert tab.evaluate("window.evil === undefined && document.images.length === 0")


def test_ten_thousand_steps_are_drawn_with_few_enough_points(opened, reports):
    tab = opened(reports(long={"steps": 10_000}))
    points = tab.evaluate("charts.flatMap(c => document.querySelector('.plot').data.map(t => t.x.length))")
    assert max(points) <= 1000
    assert tab.locator(".plot").first.evaluate("p => p.layout.xaxis.range[1]") > 9990


def test_a_page_without_a_step_or_a_score_has_no_empty_charts(opened, reports, tmp_path):
    folder = make_run(tmp_path / "run", scores=False, summary=False, samples=0)
    (folder / "metrics.jsonl").unlink()
    file = tmp_path / "report.html"
    file.write_text(page(read_runs([str(folder)]), Limits(samples=6, changes=3)), encoding="utf-8")
    tab = opened(file, ready=False)
    tab.wait_for_selector("html[data-tokens=read]")
    assert tab.locator(".chart").count() == 0 and tab.locator(".controls").count() == 0


def test_on_paper_the_page_is_light_and_its_curves_fit(opened, reports, tmp_path):
    tab = opened(reports(sdft={}), color_scheme="dark")
    tab.evaluate(
        "addEventListener('afterprint', () => window.printedWith = sizes, {capture: true}); window.sizes = null"
    )
    tab.evaluate(
        "addEventListener('beforeprint', () => window.sizes = "
        "[getComputedStyle(document.body).backgroundColor, document.querySelector('.plot').layout.width])"
    )
    assert tab.pdf(path=tmp_path / "report.pdf")[:4] == b"%PDF"
    assert tab.evaluate("window.sizes") == ["rgb(250, 250, 248)", 330]
