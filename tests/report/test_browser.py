"""The page in headless Chromium: its filters work, and no data can run."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import HOSTILE


def browse(page: Path, profile: Path, query: str = "") -> str:
    """The page as headless Chromium leaves it after its script ran; fails on any word on the console."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on this machine: the page was not opened")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --enable-logging=stderr"
    quiet = "--disable-component-update --disable-sync --disable-default-apps --virtual-time-budget=2000 --dump-dom"
    browser = subprocess.run(
        [chromium, *flags.split(), *quiet.split(), f"--user-data-dir={profile}", page.as_uri() + query],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in browser.stderr
    return browser.stdout


def test_filters_work_in_a_browser(inputs: Any, run: Any, tmp_path: Path) -> None:
    inputs.answers["tuned_42"][0] = "Zanzibar"
    inputs.scores["tuned_42"][0] = dict.fromkeys(inputs.scores["tuned_42"][0], 0.0)
    inputs.write()
    page = run(inputs) / "index.html"

    def listed(query: str) -> list[str]:
        dom = browse(page, tmp_path / "browser", query)
        assert "<h1>Better: tuning took SmolLM2-135M-Instruct" in dom
        assert "<form>" in dom  # shown by the script
        rows = re.findall(r"<tr data-slices=.*?</tr>", dom, re.DOTALL)
        return [re.search(r"ex-\w+", row)[0] for row in rows if 'hidden=""' not in row.partition(">")[0]]  # type: ignore[index]

    scores = dict(zip((example.id for example in inputs.examples), inputs.scores["tuned_42"], strict=True))
    slices = {example.id: example.slices for example in inputs.examples}
    assert set(listed("")) == {id for id, row in scores.items() if min(row.values()) < 1}
    assert set(listed("?slices=missing&metrics=name_exact")) == {
        id for id, row in scores.items() if row["name_exact"] < 1 and "missing" in slices[id]
    }
    assert listed("?text=zanzibar") == [inputs.examples[0].id]

    page.write_text(by_hand(page.read_text(encoding="utf-8"), slices="missing", metrics="name_exact"), encoding="utf-8")
    assert set(listed("")) == {id for id, row in scores.items() if row["name_exact"] < 1 and "missing" in slices[id]}


def by_hand(page: str, **chosen: str) -> str:
    """The page with one more script, which chooses as a reader does: a value in a list, then its event."""
    chooses = "".join(
        f"form.elements.{name}.value = '{value}'; form.elements.{name}.dispatchEvent(new Event('input', {{bubbles: true}}));"
        for name, value in chosen.items()
    )
    assert "script-src 'sha256-" in page
    return re.sub("script-src '[^']+'", "script-src 'unsafe-inline'", page).replace(
        "</body>", f"<script>{{ {chooses} }}</script></body>"
    )


def test_what_a_row_holds_cannot_run_in_the_browser(inputs: Any, run: Any, tmp_path: Path) -> None:
    inputs.answers["tuned_42"] = [HOSTILE] * len(inputs.examples)
    inputs.write()
    assert "<title>broken" not in browse(run(inputs) / "index.html", tmp_path / "browser")
