"""The site in a browser: laid out as on a phone, searched as people search, and kept as pictures."""

from __future__ import annotations

import html
import http.server
import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.site.searching import QUESTIONS

#: CSS pixels of a phone's window.
PHONE = (390, 844)
#: Among how many pages the one that a question means must come.
NEAR = 5
TIME_LIMIT_S = 300
#: Opens each page in a frame as wide as a phone, and says how wide it became and what stands out.
LAYOUT = """
async function look(frame, page) {
  await open(frame, page);
  const root = frame.contentDocument.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const out = [...root.querySelectorAll("body *")].filter(
    each => each.getBoundingClientRect().right > root.clientWidth);
  const last = out.slice(-1)[0]?.tagName.toLowerCase();
  return [`${page}: ${root.scrollWidth} pixels wide: <${last}> and what is around it`];
}
"""
#: Types a question into the search page, and says which pages came, the best first.
SEARCH = """
async function look(frame, question) {
  await open(frame, "search.html?q=" + encodeURIComponent(question));
  let links = [], before = -1;
  for (let tries = 0; tries < 10 && (before < links.length || !links.length); tries++) {
    before = links.length;
    await new Promise(done => setTimeout(done, 1000));
    const items = frame.contentDocument.querySelectorAll("#search-results li > a");
    links = [...items].map(each => each.getAttribute("href"));
  }
  return [links];
}
"""
HARNESS = """<!doctype html><body style="margin: 0"><iframe width="%d" height="%d" style="border: 0"></iframe>
<pre id="found"></pre><script>
function open(frame, page) {
  return new Promise(done => { frame.onload = done; frame.src = "/" + page; });
}
%s
(async () => {
  const frame = document.querySelector("iframe"), found = [];
  for (const each of %s) found.push(...await look(frame, each));
  document.querySelector("#found").textContent = JSON.stringify(found);
})();
</script>
"""


class _Server(http.server.SimpleHTTPRequestHandler):
    """The site, and a page that looks at it from the same place, as browsers ask."""

    looking = ""

    def do_GET(self) -> None:
        if self.path != "/looking.html":
            super().do_GET()
            return
        content = self.looking.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@contextmanager
def served(site: Path, looking: str = "") -> Iterator[str]:
    """The site on this machine, for as long as it is looked at: its address."""
    handler = type("Handler", (_Server,), {"looking": looking})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def problems(site: Path, browser: str) -> list[str]:
    """Pages that are wider than a phone, and questions whose page does not come among the first."""
    pages = [str(path.relative_to(site)) for path in sorted(site.rglob("*.html"))]
    found: list[str] = _looked(site, browser, LAYOUT, pages)
    for question, links in zip(QUESTIONS, _looked(site, browser, SEARCH, list(QUESTIONS)), strict=True):
        pages = [link.partition("#")[0].removesuffix(".html") for link in links]
        first = list(dict.fromkeys(pages))[:NEAR]
        if QUESTIONS[question] not in first:
            found.append(f"searching for {question!r}: {QUESTIONS[question]} is not among the first, {first}")
    return found


def photograph(site: Path, browser: str, folder: Path) -> None:
    """A picture of the top of each page, as wide as a phone, in light and in dark."""
    folder.mkdir(parents=True, exist_ok=True)
    with served(site) as address:
        for path in sorted(site.rglob("*.html")):
            page = path.relative_to(site)
            for mode in ("light", "dark"):
                dark = ["--blink-settings=preferredColorScheme=0"] if mode == "dark" else []
                picture = folder / f"{'-'.join(page.with_suffix('').parts)}-{mode}.png"
                size = f"--window-size={PHONE[0]},{PHONE[1] * 2}"
                _run(browser, *dark, size, f"--screenshot={picture}", f"{address}/{page}")


def _looked(site: Path, browser: str, look: str, items: list[str]) -> Any:
    """What a function of the harness returns for each item, in one list."""
    with served(site, HARNESS % (*PHONE, look, json.dumps(items))) as address:
        output = _run(browser, "--virtual-time-budget=200000", "--dump-dom", f"{address}/looking.html")
    found = re.search(r'<pre id="found">(.+?)</pre>', output, re.DOTALL)
    if found is None:
        raise RuntimeError("the browser did not come to the end: give it more time, or look at the pages with it")
    return json.loads(html.unescape(found[1]))


def _run(browser: str, *arguments: str) -> str:
    with tempfile.TemporaryDirectory() as profile:
        plain = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        done = subprocess.run(
            [browser, *plain, *arguments], capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S
        )
    return done.stdout
