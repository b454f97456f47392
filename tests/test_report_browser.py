"""The report in a real browser: nothing breaks, filters and sorting work, prices are the model's.

Chromium is the system's; where there is none these tests are skipped, but not in CI.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.catalog import Catalog
from benchmarks.freshness import Checked
from benchmarks.rows import Row
from benchmarks.store import Run
from coinfer.cost import Workload, latency
from coinfer.hardware import shannon_rate_bps
from reports.content import Content
from reports.drawings import Drawn, Figures
from reports.site import pages
from reports.whatif import Offer, offers_of_rows, offers_of_tables
from reproduce.facts import Facts
from reproduce.figures import figure
from tests.latencies import grid, timed

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

EVIL = "<script>alert(1)</script>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MODEL, RULES = "alexnet-cifar", "qho2024"


def rows_of_plans() -> list[Row]:
    """Rows of methods whose families have measured plans, with work of their own."""
    rng = np.random.default_rng(0)
    methods = ("all_local", "all_server", "neurosurgeon", "prune_partition", "qho", "bottlenet++")
    rows = []
    for number, method in enumerate((*methods, EVIL)):
        for link in ("3g", "4g"):
            row = timed(method, 0.01 * (number + 1), model=MODEL, convention=RULES, link=link)
            device, server, bits = rng.integers(1, 10**9, size=3)
            symbols = method == EVIL and link == "4g"
            result = replace(
                row.result,
                plan_hash=f"{number}{link}".ljust(64, "0"),
                device_flops=int(device),
                server_flops=int(server),
                uplink_bits=None if symbols else float(bits % 10**6),
                uplink_symbols=int(bits % 10**5) if symbols else None,
                encode_flops=int(device // 7) if method == EVIL else 0,
                decode_flops=int(server // 9) if method == EVIL else 0,
                accuracy_loss=0.01 * number,
                evidence={**row.result.evidence, "accuracy_loss": "measured"},
            )
            rows.append(replace(row, result=result))
    return rows


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a stranger's method whose name would act, were it not escaped."""
    rows = [*rows_of_plans(), *grid({("raspberry-pi-4b", "3g", "all_server"): 7.0})]
    about = {"command_line": ["coinfer", EVIL], "git": {"commit": "0123456789" * 4}}
    run = Run("1", "2024-05-01T12:00:00Z", None, about)
    found = [Checked(row, run_id="1") for row in rows]
    content = Content.of(found, [run], Catalog(), Facts.of(rows))
    folder = tmp_path_factory.mktemp("site")
    lines = (("paper_mse", "digest"), ("0.5", "f" * 64), ("0.25", "f" * 64))
    table = Drawn(figure("table4"), "", (), table=lines)
    for name, text in pages(replace(content, figures=Figures((table,)))).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail("CI must test the report in a browser, and no Chromium is installed")
        pytest.skip("no Chromium is installed: the report was not tested in a browser")
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox needs rights that root in a container does not give.
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page without a network that collects what goes wrong in it."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.wrong = []
    made.asked = []
    made.on("console", lambda said: made.wrong.append(said.text))
    made.on("pageerror", lambda error: made.wrong.append(str(error)))
    made.on("dialog", lambda dialog: made.wrong.append(f"dialog {dialog.message}"))
    made.on("request", lambda request: made.asked.append(request.url))
    yield made
    context.close()
    assert made.wrong == []


def shown(page: Any, selector: str) -> int:
    """How many elements of a selector are visible."""
    count: int = page.locator(selector).evaluate_all(
        "all => all.filter(one => one.offsetParent !== null).length"
    )
    return count


def test_every_page_loads_without_an_error_and_without_a_network(page: Any, site: Path) -> None:
    files = sorted(site.glob("*.html"))
    assert len(files) > 20
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        for file in files:
            page.goto(file.as_uri())
            assert page.title().endswith("coinfer report")
            # Nothing makes the page itself scroll sideways, on a phone either.
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (file, width)
    assert {url.rpartition("/")[0] for url in page.asked} == {site.as_uri()}


def test_a_name_that_is_a_script_is_shown_and_not_run(page: Any, site: Path) -> None:
    for name in ("index.html", "methods.html", "rows.html", "provenance.html", "whatif.html"):
        page.goto((site / name).as_uri())
        assert EVIL in page.locator("main").inner_text(), name
    assert page.locator("main script:not([type])").count() == 0
    # Were one let through, the page's own policy would stop it.
    page.evaluate(
        """() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';
        document.body.append(s); }"""
    )
    assert page.evaluate("window.ran === undefined")
    assert any("Content Security Policy" in text for text in page.wrong)
    page.wrong.clear()


def test_the_scorecard_is_filtered_and_sorted(page: Any, site: Path) -> None:
    page.goto((site / "scorecard.html").as_uri())
    rows = "#claims tbody tr"
    every = shown(page, rows)
    assert every == page.locator(rows).count() > 50
    page.locator("[name=verdict]").select_option("deviates")
    some = shown(page, rows)
    assert 0 < some < every
    assert set(page.locator(f"{rows}:visible .badge").all_inner_texts()) == {"≠ deviates"}
    assert page.locator("output").inner_text() == f"{some} of {every} shown"
    page.locator("[name=paper]").select_option("C")
    assert shown(page, rows) == page.locator(
        f'{rows}[data-paper="C"][data-verdict="deviates"]'
    ).count()  # fmt: skip
    page.get_by_role("button", name="Clear").click()
    # A reset is told to the page a moment later; its policy forbids waiting by a script of ours.
    page.locator(f"{rows}[hidden]").first.wait_for(state="detached")
    page.locator("[name=text]").fill("q-f6a.1")
    assert shown(page, rows) >= 1
    assert "Q-f6a.1" in page.locator(f"{rows}:visible th").all_inner_texts()
    # A tile of the overview leads to the claims of its verdict.
    page.goto((site / "index.html").as_uri())
    page.get_by_role("link", name="deviates").first.click()
    page.wait_for_url("**/scorecard.html#verdict=deviates")
    assert shown(page, rows) == some


def test_tables_are_sorted_with_the_keyboard(page: Any, site: Path) -> None:
    page.goto((site / "scorecard.html").as_uri())
    head = page.locator("#claims thead th", has_text="Theirs")
    values = "all => all.map(row => row.cells[3].dataset.v).filter(v => v !== '').map(Number)"
    for order, sign in (("ascending", 1), ("descending", -1)):
        head.get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        found = page.locator("#claims tbody tr").evaluate_all(values)
        assert len(found) > 20
        assert [sign * v for v in found] == sorted(sign * v for v in found)
    # What has no number stays last.
    texts = page.locator("#claims tbody tr td:nth-child(4)").all_inner_texts()
    assert "ordering" in texts[-1]


def test_every_page_can_be_used_with_the_keyboard_and_a_screen_reader(
    page: Any, site: Path
) -> None:
    for file in sorted(site.glob("*.html")):
        page.goto(file.as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip", file.name
        faults = page.evaluate(
            """() => [
              ...[...document.querySelectorAll('select, input')]
                .filter(one => !one.labels.length).map(one => 'no label: ' + one.name),
              ...[...document.querySelectorAll('table')]
                .filter(one => !one.caption).map(one => 'no caption'),
              ...[...document.querySelectorAll('thead th')]
                .filter(one => one.scope !== 'col').map(one => 'no scope: ' + one.textContent),
              ...[...document.querySelectorAll('svg[role=img], [role=region]')]
                .filter(one => !one.getAttribute('aria-label')).map(one => 'no name'),
              ...[...document.querySelectorAll('h1, h2, h3, h4')].map(one => +one.tagName[1])
                .filter((level, i, all) => level > (all[i - 1] ?? 0) + 1).map(level => 'h' + level),
              ...[...document.querySelectorAll('a, button')]
                .filter(one => !one.textContent.trim() && !one.hidden).map(one => 'empty'),
            ]"""
        )
        assert faults == [], file.name


def test_light_dark_and_print(page: Any, site: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    page.goto((site / "index.html").as_uri())
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark theme").click()
    dark = page.evaluate(background)
    assert dark != light
    # The choice holds on the next page, against what the system says.
    page.goto((site / "methods.html").as_uri())
    assert page.evaluate(background) == dark
    page.emulate_media(media="print")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert shown(page, "nav") == 0


@pytest.fixture(scope="module")
def offers() -> dict[str, list[Offer]]:
    """Every plan that the what-if page may take, by method, none left out as beaten."""
    own = offers_of_rows(rows_of_plans())[MODEL, RULES]
    asked = {offer.method for offer in own}
    every = [*own, *(o for o in offers_of_tables(MODEL, RULES, Catalog()) if o.method in asked)]
    assert len(every) > 100  # measured plans that ship are among them
    return {method: [o for o in every if o.method == method] for method in asked}


def queries(number: int) -> list[dict[str, float]]:
    """Random scenarios: rates, and radios of an SNR."""
    rng = np.random.default_rng(1)
    found = []
    for i in range(number):
        at = {
            "device_flops_per_s": float(10 ** rng.uniform(8, 12)),
            "server_flops_per_s": float(10 ** rng.uniform(10, 14)),
            "rate_bps": float(10 ** rng.uniform(3, 9)),
            "bandwidth_hz": 0.0,
            "round_trip_s": float(rng.choice([0.0, 0.02])),
            "max_loss": float(rng.uniform(0, 0.3)),
        }
        if i % 2:
            at["bandwidth_hz"] = float(10 ** rng.uniform(4, 8))
            at["snr_db"] = float(rng.uniform(-30, 60))
        found.append(at)
    found[0] |= {"rate_bps": 0.0, "bandwidth_hz": 0.0}
    return found


def priced(offer: Offer, at: dict[str, float]) -> dict[str, float]:
    """What the cost model says."""
    bandwidth_hz = at["bandwidth_hz"]
    snr_db = at.get("snr_db")
    rate_bps = at["rate_bps"] if snr_db is None else shannon_rate_bps(bandwidth_hz, snr_db)
    work: Workload = offer.work
    time = latency(
        work,
        at["device_flops_per_s"],
        at["server_flops_per_s"],
        rate_bps,
        at["round_trip_s"],
        bandwidth_hz,
    )
    parts = ("device", "encode", "uplink", "round_trip", "decode", "server", "total")
    return {f"{part}_s": float(getattr(time, f"{part}_s")) for part in parts}


def test_what_if_agrees_with_the_cost_model_on_200_random_queries(
    page: Any, site: Path, offers: dict[str, list[Offer]]
) -> None:
    page.goto((site / "whatif.html").as_uri())
    asked = queries(200)
    answers = page.evaluate(
        """([queries, model, rules]) => {
          const group = whatif.data.groups.find(
            (one) => one.model === model && one.convention === rules);
          return queries.map((at) => {
            if (at.snr_db !== undefined)
              at.rate_bps = whatif.shannonBps(at.bandwidth_hz, at.snr_db);
            return [...whatif.best(group, at, at.max_loss)].map(([method, one]) =>
              [whatif.data.methods[method].ref, one.plan[12],
               Object.fromEntries(Object.entries(one.time).map(([k, v]) => [k, String(v)]))]);
          });
        }""",
        [asked, MODEL, RULES],
    )
    compared = 0
    for at, answer in zip(asked, answers, strict=True):
        told = {method: (plan, time) for method, plan, time in answer}
        for method, own in offers.items():
            fit = [
                (priced(offer, at), offer)
                for offer in own
                if offer.loss is not None
                and offer.loss <= at["max_loss"]
                and (at["bandwidth_hz"] or not offer.work.uplink_symbols)
            ]
            assert (method in told) == bool(fit)
            if not fit:
                continue
            plan, time = told[method]
            got = {part: float(text) for part, text in time.items()}
            best_s = min(parts["total_s"] for parts, _ in fit)
            assert got["total_s"] == pytest.approx(best_s, rel=1e-9)
            same = next(parts for parts, offer in fit if offer.plan_hash.startswith(plan))
            assert got == pytest.approx(same, rel=1e-9, abs=0)
            compared += 1
    assert compared > 500


def test_what_if_answers_as_the_controls_are_moved(page: Any, site: Path) -> None:
    page.goto((site / "whatif.html").as_uri())
    page.locator("[name=model]").select_option(MODEL)
    body, said = page.locator("#whatif-body"), page.locator("#whatif-said")
    page.locator("[name=loss]").fill("20")
    page.locator("[name=rate]").fill("3")
    slow = body.inner_text()
    assert EVIL in slow
    assert "is fastest" in said.inner_text()
    page.locator("[name=rate]").fill("9.5")
    assert body.inner_text() != slow
    assert "3.162 Gb/s" in page.locator("#rate-out").inner_text()
    # Who hears the slider hears the rate, not its exponent.
    assert page.locator("[name=rate]").get_attribute("aria-valuetext") == "3.162 Gb/s"
    page.locator("[name=link]").select_option("radio")
    for bandwidth in ("-1000000", "0", ""):
        page.locator("[name=bandwidth]").fill(bandwidth)
        assert said.inner_text() == "Give a bandwidth above 0 Hz."
    page.locator("[name=link]").select_option("rate")
    page.locator("[name=loss]").fill("0")
    assert EVIL not in body.inner_text()
    assert EVIL in said.inner_text()
    page.locator("[name=link]").select_option("radio")
    page.locator("[name=bandwidth]").fill("1e6")
    page.locator("[name=snr]").fill("0")
    assert "1 Mb/s" in page.locator("#snr-out").inner_text()
    page.locator("[name=device]").select_option("own")
    page.locator("[name=device_flops]").fill("0")
    assert said.inner_text() == "Give a speed above 0."
    page.locator("[name=device_flops]").fill("1e9")
    assert body.locator("tr").count() >= 2
    assert body.locator("tr").first.locator(".bar span").count() == 6
