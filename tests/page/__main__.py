"""Opens pages in a real browser, and does what people do: ``python -m tests.page --browser chromium``.

Needs Playwright (``pip install playwright``; its own browsers are not needed) and, for ``--axe``, the file
``axe.min.js`` of the npm package axe-core. Fails on a request, an error on the console, a dialog, what a pointer or
keys do not do, and what axe finds; prints how large each page is, and how soon it is ready.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelarchive import page
from tests.page import samples


def main() -> int:
    """Look at every page; 1 where something is wrong."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(prog="python -m tests.page", description=__doc__.partition("\n")[0])
    parser.add_argument("--browser", required=True, help="the program of a Chromium: its name or path")
    parser.add_argument("--axe", type=Path, help="axe-core's axe.min.js, to look for what people cannot read or reach")
    parser.add_argument(
        "--pictures", type=Path, help="keep pictures of every page here, wide and narrow, light and dark"
    )
    options = parser.parse_args()
    if shutil.which(options.browser) is None:
        parser.error(f"there is no program {options.browser}")
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(options.browser), args=["--no-sandbox"])
        for name, path, acts in _pages(Path(folder)):
            for width, scheme in ((1280, "light"), (390, "dark")):
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                tab = context.new_page()
                found = _watched(tab)
                start = time.perf_counter()
                tab.goto(path.as_uri())
                tab.wait_for_function("document.documentElement.dataset.ready === 'yes'")
                took = time.perf_counter() - start
                print(f"{name}, {width} pixels, {scheme}: {path.stat().st_size / 1e6:.2f} MB, ready in {took:.2f} s")
                if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    found.append("is wider than the window")
                if width == 1280:
                    for act in acts:
                        found += act(tab)
                if options.pictures:
                    options.pictures.mkdir(parents=True, exist_ok=True)
                    tab.screenshot(path=options.pictures / f"{name}-{width}-{scheme}.png", full_page=True)
                if options.axe:
                    found += _axe(tab, options.axe)
                problems += [f"{name}, {width} pixels: {each}" for each in found]
                context.close()
        browser.close()
    print("\n".join(problems) or "nothing is wrong", file=sys.stderr)
    return 1 if problems else 0


Act = Callable[[Any], list[str]]


def _pages(folder: Path) -> Iterator[tuple[str, Path, list[Act]]]:
    files = samples.networks(folder)
    for name, path in files.items():
        acts: list[Act] = [_keys, _opens]
        if name == "encoder":
            acts += [_folds, _address, _odd_address, _in_a_frame]
        if name == "tied":
            acts.append(_shows_ties)
        yield name, page.write(path, folder / f"{name}.html"), acts
    yield "hostile", page.write(samples.hostile(folder / "hostile.h5"), folder / "hostile.html"), [_presses_all]
    many = samples.many(folder / "many.h5", 10_000)
    yield "many", page.write(many, folder / "many.html"), [_searches, _scrolls, _prints]
    yield "troubled", page.write(samples.troubled(folder / "troubled.h5"), folder / "troubled.html"), [_names_trouble]
    yield "damaged", page.write(samples.damaged(folder / "damaged.h5"), folder / "damaged.html"), [_names_damage]
    before, after = samples.two(folder)
    one, other = samples.named(folder)
    yield "named", page.write(one, folder / "named.html", other=other), [_says_no_nonsense]
    yield "run", page.write(samples.run(folder / "run"), folder / "run.html"), [_shows_run]
    yield "two", page.write(before, folder / "two.html", other=after), [_shows_change]


def _watched(tab: Any) -> list[str]:
    found: list[str] = []

    def asked(each: Any) -> None:
        if not (each.url.startswith("file:") and each.is_navigation_request()):
            found.append(f"asked for {each.url}")

    tab.on("request", asked)
    tab.on("console", lambda each: found.append(f"console: {each.text}") if each.type in ("error", "warning") else None)
    tab.on("pageerror", lambda each: found.append(f"raised {each}"))
    tab.on("dialog", lambda each: (found.append(f"opened a dialog: {each.message}"), each.dismiss()))
    return found


def _said(tab: Any) -> str:
    return str(tab.locator(".details h2").inner_text())


def _keys(tab: Any) -> list[str]:
    tab.locator("[role=treeitem][tabindex='0']").focus()
    for key in ("ArrowRight", "Enter"):
        tab.keyboard.press(key)
    child = tab.locator("[role=treeitem][aria-level='2']").first.locator("b").first.inner_text()
    return [] if _said(tab) == child else [f"keys in the tree selected {_said(tab)!r}, expected {child!r}"]


def _opens(tab: Any) -> list[str]:
    closed = tab.locator(".box[aria-expanded=false]")
    before = closed.count()
    if not before:
        return []
    boxes = tab.locator(".box").count()
    closed.first.focus()
    tab.keyboard.press("Enter")
    return [] if tab.locator(".box").count() > boxes else ["a box does not open by its key"]


def _folds(tab: Any) -> list[str]:
    tab.get_by_role("button", name="close all").click()
    return [] if tab.locator(".box.stack").count() == 1 else ["twelve layers are not drawn as one"]


def _address(tab: Any) -> list[str]:
    tab.evaluate("location.hash = 'layers.7.linear1.weight'")
    tab.wait_for_timeout(200)
    selected = tab.locator(".box.selected").text_content()
    return [] if _said(tab) == "layers.7.linear1.weight" and "linear1" in selected else ["an address selects nothing"]


def _odd_address(tab: Any) -> list[str]:
    """An address that is no text, as people and programs cut them off."""
    tab.goto(tab.url.partition("#")[0] + "#100%")
    tab.reload()
    tab.wait_for_timeout(200)
    return [] if tab.evaluate("document.documentElement.dataset.ready") else ["an odd address stops the page"]


def _in_a_frame(tab: Any) -> list[str]:
    """As notebooks show a page: in a frame without an address of its own."""
    tab.evaluate(
        """() => {
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts";
            const whole = document.documentElement.outerHTML;
            frame.srcdoc = whole.replace(/<div id="page">.*?<script/s, '<div id="page"></div><script');
            document.body.append(frame);
        }"""
    )
    tab.wait_for_timeout(1000)
    frame = tab.frames[1]
    frame.locator(".arrays tbody button").first.click()
    is_ready = frame.evaluate("document.documentElement.dataset.ready") == "yes"
    said = frame.locator(".details h2").inner_text()
    tab.evaluate("document.querySelector('iframe').remove()")
    return [] if is_ready and said.startswith("layers.0.") else ["the page does not work in a frame"]


def _prints(tab: Any) -> list[str]:
    """Rows in place of what scrolls, and no paper without anything on it."""
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    rows, height = tab.locator(".rows tbody tr").count(), tab.evaluate("document.documentElement.scrollHeight")
    said = tab.locator(".arrays").inner_text()
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")
    is_right = rows == 500 and "and 9,500 more" in said and height < 30 * 1000
    return (
        []
        if is_right and "9,500" not in tab.locator(".arrays").inner_text()
        else [f"prints {rows} rows, {height} high"]
    )


def _says_no_nonsense(tab: Any) -> list[str]:
    found = []
    for at in range(tab.locator(".arrays tbody button").count()):
        tab.locator(".arrays tbody button").nth(at).click()
        found.append(tab.locator(".details").inner_text())
    text = tab.locator("body").inner_text() + "".join(found)
    return [f"says {each!r}" for each in ("undefined", "[object", "native code", "NaN") if each in text]


def _presses_all(tab: Any) -> list[str]:
    for at in range(tab.locator("button").count()):
        tab.locator("button").nth(at).click()
    tab.locator("summary").first.click()
    shown = tab.locator(".rows tbody").inner_text().replace("%2F", "/")
    return [f"{name!r} is not shown" for name in samples.HOSTILE if name.strip("\u2028") not in shown]


def _searches(tab: Any) -> list[str]:
    tab.locator("input[type=search]").fill("layer.9999. 4 x 5")
    tab.locator(".found button").first.click()
    return [] if _said(tab) == "layer.9999.weight" else ["the search does not lead to an array"]


def _scrolls(tab: Any) -> list[str]:
    tab.locator(".rows").evaluate("each => { each.scrollTop = each.scrollHeight; }")
    tab.wait_for_timeout(200)
    rows = tab.locator(".rows tbody tr")
    is_last = "layer.9999.weight" in rows.last.inner_text()
    return [] if is_last and rows.count() < 100 else ["the table does not scroll to its end, or holds all rows"]


def _names_trouble(tab: Any) -> list[str]:
    said = tab.locator(".alarms").inner_text()
    tab.locator(".alarms button").first.click()
    is_right = "layer.277.weight" in said and "layer.100.weight" in said and _said(tab) == "layer.277.weight"
    return [] if is_right else [f"the NaN is not named: {said}"]


def _names_damage(tab: Any) -> list[str]:
    said = tab.locator(".alarms").inner_text()
    tab.locator(".alarms button").first.click()
    is_right = "damaged.h5 is damaged: 1 part" in said and _said(tab) == "1.weight"
    return [] if is_right else [f"the damage is not named: {said}"]


def _shows_change(tab: Any) -> list[str]:
    said = tab.locator(".changes").inner_text()
    boxes = tab.locator(".box.changed").count()
    tab.locator(".changes").get_by_role("button", name="1.weight").click()
    is_chosen = _said(tab) == "1.weight"
    return (
        []
        if "1 changed, 3 arrays equal" in said and boxes and is_chosen
        else [f"the change is not shown: {said}, {boxes} boxes"]
    )


def _shows_ties(tab: Any) -> list[str]:
    label = tab.get_by_role("treeitem", name="lm_head")
    is_said = "= wte" in label.inner_text() and tab.locator(".box", has_text="= wte").count()
    return [] if is_said else [f"the tied layer does not say so: {label.inner_text()}"]


def _shows_run(tab: Any) -> list[str]:
    said = tab.locator(".run").inner_text()
    curves = tab.locator(".run .curve").count()
    tab.locator(".arrays").get_by_role("button", name="classifier.1.weight").click()
    of_array = tab.locator(".details .curve").count()
    is_right = "5 checkpoints, steps 100 to 500 not whole: step " in said and "damaged: classifier.2.weight" in said
    return [] if is_right and (curves, of_array) == (4, 2) else [f"the run is not shown: {said}, {curves}, {of_array}"]


def _axe(tab: Any, script: Path) -> list[str]:
    # As the page's policy forbids other scripts, it is run by the browser's own tools.
    tab.evaluate(script.read_text("utf-8") + "; window.axe = axe;")
    found = tab.evaluate("axe.run({resultTypes: ['violations']})")
    return [f"axe: {each['id']}: {each['nodes'][0]['html'][:160]}" for each in found["violations"]]


if __name__ == "__main__":
    sys.exit(main())
