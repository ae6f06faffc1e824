"""Real headless Chromium, and what it finds on a page that it opens from disk."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
needed = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (Debian: apt-get install chromium)")

PROBE = """<script>addEventListener("load", () => {
const rgb = t => { const n = t.match(/[\\d.]+/g).map(Number);
  return n.length > 3 && n[3] === 0 ? null : n.slice(0, 3); };
const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b; };
const behind = e => { for (; e; e = e.parentElement) {
  const c = rgb(getComputedStyle(e).backgroundColor); if (c) return c; }
  return [255, 255, 255]; };
document.querySelectorAll("details").forEach(d => d.open = true);
let font = [99, ""], contrast = [99, ""];
const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
for (let node; node = walk.nextNode();) { const e = node.parentElement, words = node.textContent.trim();
  if (!words || e.closest("style, defs") || !e.getClientRects().length) continue;
  const style = getComputedStyle(e), svg = e.closest("svg");
  const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  const size = parseFloat(style.fontSize) * scale;
  if (size < font[0]) font = [size, words];
  const a = light(rgb(svg ? style.fill : style.color)), b = light(behind(e));
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < contrast[0]) contrast = [ratio, words]; }
const wide = document.documentElement;
parent.postMessage(JSON.stringify({font, contrast, overflow: wide.scrollWidth - wide.clientWidth, width: innerWidth,
  ground: rgb(getComputedStyle(document.body).backgroundColor),
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  loaded: performance.getEntriesByType("resource").map(r => r.name)}), "*");
});</script>"""
"""Measures text as it is rendered; only the copy that a test opens has it."""

FRAME = """<meta name="color-scheme" content="light dark"><title>{}</title>
<script>addEventListener("message", e => { document.title = e.data; });</script>
<iframe src="probed.html" style="border: 0; width: WIDTHpx; height: 900px"></iframe>"""
"""A page around the page: a window is at least 500 pixels wide, a frame as narrow as a phone."""


def browse(folder: Path, page: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Chromium's --dump-dom of `page`, opened from disk, with every name unresolvable and no address reachable."""
    file = folder / "page.html"
    file.write_text(page)
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-default-apps", "--disable-sync", "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
        "--virtual-time-budget=2000", *options, "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)


def measured(folder: Path, page: str, width: int, scheme: str) -> dict[str, Any]:
    """What the probe finds at this `width` in CSS pixels, in the "light" or "dark" scheme."""
    open_to_scripts = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    preferred = {"light": "1", "dark": "0"}[scheme]
    (folder / "probed.html").write_text(open_to_scripts.replace("</head>", PROBE + "</head>"))
    outer = FRAME.replace("WIDTH", str(width))
    options = (f"--window-size={width + 200},900", f"--blink-settings=preferredColorScheme={preferred}")
    dumped = browse(folder, outer, *options).stdout
    found = re.search(r"<title>(.*?)</title>", dumped, re.DOTALL)
    assert found
    return dict(json.loads(html.unescape(found[1])))


def requested(log: Path) -> list[str]:
    """The addresses in Chromium's log of the network that its pages asked for: not of its own services."""
    text = log.read_text()
    events = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")["events"]
    urls = [str(event.get("params", {}).get("url", "")) for event in events]
    own = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")
    return [url for url in urls if url.startswith("http") and not url.split("/")[2].split(":")[0].endswith(own)]
