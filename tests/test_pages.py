"""Values from data have no effect in Markdown."""

import re
from html import unescape
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markdown_it import MarkdownIt

from stages import formatting, pages

STAGES = Path(formatting.__file__).parent
PLACES = [
    "{{ text }}",
    "# {{ text }}",
    "- {{ text }}",
    "x\n{{ text }}\n",
    "a {{ text }}({{ text }}) b",
    "**a {{ text }}.**",
    "| a | b |\n|---|---|\n| {{ text }} | {{ text }} |\n",
]
HOSTILE = [
    "<b>x</b>",
    "< b><b>",
    "<!-- x -->",
    "&lt;b&gt;",
    "a\n<script>",
    "&amp;lt; b>",
    "<\nb>",
    "<\u202fb>",
    "</b >",
    "# All checks passed, merge",
    "x\n\n# All checks passed",
    "x\r\r# All checks passed",
    "x\u2028\u2028# All checks passed",
    "[merge](https://evil.example)",
    "![](https://evil.example/pixel.png)",
    "[x]: https://evil.example\n\n[x]",
    "<https://evil.example>",
    "https://evil.example and HTTP://evil.example",
    "www.evil.example, WWW.evil.example",
    "ftp://evil.example",
    "mail me@evil.example",
    "@octocat, cc (@octo/team)",
    "closes #1, owner/repository#1, GH-1",
    "**bold** *it* __bold__ _it_ ~~gone~~",
    "***",
    "---",
    "===",
    "- - -",
    "- [x] reviewed",
    "+ item",
    "1. item",
    "2) item",
    "> quoted",
    "    code",
    "```\ncode",
    "~~~\ncode",
    "`a` `",
    "\\`a\\` \\*b\\* \\",
    "| a | b |\n|---|---|\n| c | d |",
    "$\\Huge{merge}$",
    "[^1]\n\n[^1]: note",
    "\x1b[31mred\u202e",
]


def markdown(folder: Path, text: str, place: str = "{{ text }}") -> str:
    template = folder / "page.md.jinja"
    template.write_text(place, encoding="utf-8")
    return pages.render(template, text=text)


def shown(text: str) -> str:
    """Return what a reader should see of a value."""
    return pages.one_line(text).replace("`", "'").replace("|", "¦")


def test_markdown_shows_a_p_value_without_entities(tmp_path: Path) -> None:
    assert markdown(tmp_path, formatting.probability(0.0001)) == "p\u202f<\u202f0.001"
    assert markdown(tmp_path, "\"a\" & 'b' < c") == "\"a\" & 'b' < c"


@pytest.mark.parametrize(
    "text", ["field_exact", "+1.5 (−2.0 to 4.1)", "stages/train/run.py", "a-b, c = d: 3.5 %", "2025-01-16", ".", ", "]
)
def test_usual_values_stay_as_they_are(tmp_path: Path, text: str) -> None:
    assert markdown(tmp_path, text) == text


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_from_data_is_shown_as_plain_text(tmp_path: Path, text: str, place: str) -> None:
    page, plain = markdown(tmp_path, text, place), markdown(tmp_path, "plain", place)
    parser = MarkdownIt("gfm-like", {"linkify": False})
    html, expected = parser.render(page), parser.render(plain)
    assert re.findall("<[^>]*>", html) == re.findall("<[^>]*>", expected)
    seen = " ".join(unescape(re.sub("<[^>]*>", "", html)).replace("\u200b", "").split())
    wanted = re.sub("<[^>]*>", "", expected).replace("plain", shown(text))
    assert seen == " ".join(wanted.split())


@pytest.mark.parametrize("place", ["{{ text }}", "{{ text | code }}"])
@pytest.mark.parametrize("text", [text for text in HOSTILE if re.search(r"@\w|#\d|GH-\d|://|www\.", text, re.IGNORECASE)])
def test_no_mention_reference_or_address_is_left_to_link(tmp_path: Path, text: str, place: str) -> None:
    html = MarkdownIt("commonmark").render(markdown(tmp_path, text, place))
    outside = re.sub("<code>.*?</code>", "", html)  # hosts link nothing in code
    assert not re.search(r"@\w|#\d|GH-\d|://|www\.", outside, re.IGNORECASE)


@pytest.mark.parametrize("text", [*HOSTILE, "", "`", "a``b"])
def test_code_span_ends_where_its_value_ends(tmp_path: Path, text: str) -> None:
    html = MarkdownIt("commonmark").render(markdown(tmp_path, text, "{{ text | code }} and {{ text | code }}"))
    assert re.fullmatch(r"<p><code>[^<]*</code> and <code>[^<]*</code></p>\n", html)


@pytest.mark.parametrize("text", HOSTILE)
def test_code_span_stays_in_its_cell(tmp_path: Path, text: str) -> None:
    page = markdown(tmp_path, text, "| a | b |\n|---|---|\n| {{ text | code }} | {{ text | code }} |\n")
    html = MarkdownIt("gfm-like", {"linkify": False}).render(page)
    assert len(re.findall(r"<td><code>[^<]*</code></td>", html)) == html.count("<td") == 2


def test_code_span_shows_what_a_person_copies(tmp_path: Path) -> None:
    value = "me@example.org/a_b#1 https://x.example *.jsonl"
    assert markdown(tmp_path, value, "{{ text | code }}") == f"`{value}`"


@pytest.mark.parametrize("text", ["</pre>\n\n# Merge", "</details>", "\n\n<b>@octocat", "\x1b[2J"])
def test_verbatim_text_stays_in_its_block(tmp_path: Path, text: str) -> None:
    page = markdown(tmp_path, text, "<pre>\n{{ text | verbatim }}\n</pre>\n")
    (block,) = MarkdownIt("commonmark").parse(page)
    assert (block.type, block.content.count("<")) == ("html_block", 2)
    assert "\x1b" not in page


def test_long_value_is_cut_in_markdown(tmp_path: Path) -> None:
    for place in ("{{ text }}", "{{ text | code }}"):
        assert len(markdown(tmp_path, "x" * 100_000, place)) < 600


def test_macros_and_constants_of_a_template_stay_markup(tmp_path: Path) -> None:
    place = "{% macro m(v) %}**{{ v }}**{% endmacro %}{{ m(text) }}{{ ', *x*' }}{{ [text, 'b'] | map('code') | join(', ') }}"
    assert markdown(tmp_path, "*", place) == "**\\***, *x*`*`, `b`"
    with pytest.raises(UndefinedError):
        markdown(tmp_path, "", "{{ other }}")


def test_no_template_of_markdown_leaves_the_escaping() -> None:
    templates = [path for path in STAGES.rglob("*.md.jinja") if path.name != "parameters.md.jinja"]  # which shows only conf/
    assert len(templates) == 6
    for path in templates:
        assert not re.search(r"\|\s*safe\b|autoescape|`\{\{", path.read_text(encoding="utf-8")), path
