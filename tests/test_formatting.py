"""Numbers and Markdown as pages show them."""

from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from stages import formatting


def markdown(folder: Path, text: str) -> str:
    template = folder / "page.md.jinja"
    template.write_text("{{ text }}", encoding="utf-8")
    return formatting.render(template, text=text)


def test_markdown_shows_a_p_value_without_entities(tmp_path: Path) -> None:
    assert markdown(tmp_path, formatting.probability(0.0001)) == "p\u202f<\u202f0.001"
    assert markdown(tmp_path, "\"a\" & 'b' < c") == "\"a\" & 'b' < c"


@pytest.mark.parametrize(
    "text", ["<b>x</b>", "< b><b>", "<!-- x -->", "&lt;b&gt;", "a\n<script>", "&amp;lt; b>", "<\nb>", "<\u202fb>", "</b >"]
)
def test_markdown_from_data_opens_no_tag(tmp_path: Path, text: str) -> None:
    html = MarkdownIt("commonmark").render(markdown(tmp_path, text))
    tags = html.replace("<p>", "").replace("</p>", "").replace("<br />", "")
    assert "<" not in tags
    assert "&amp;" in tags if "&" in text else "&lt;" in tags


def test_memory_is_in_gib_and_files_in_decimal_units() -> None:
    assert formatting.gib(14.741) == "14.741\u202fGiB"
    assert formatting.size(9_790_000) == "9.8\u202fMB"


def test_a_total_with_an_interval_shows_it() -> None:
    assert formatting.bounds({"share": 0.5, "share_lo": 0.25, "share_hi": 0.75, "other": 2.0}, "share") == " [0.25, 0.75]"
    assert formatting.bounds({"share": 0.5, "other": 2.0}, "other") == ""
