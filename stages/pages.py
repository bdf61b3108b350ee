"""Fill templates of pages (report, comparison, model card) with data that others wrote.

Every template escapes every value: those named *.md.jinja with `markdown`, others as HTML. Only the filters `code` and
`verbatim` return markup, around a value that they escape.
"""

import html
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages import formatting
from stages.formatting import SPACE, clip
from stages.terminal import visible

Content = dict[str, Any]  # what a template gets, by the names that it uses
LONGEST_VALUE = 500  # characters of one value in Markdown

# A line break in data could start a block: a heading, a list, a table row. The narrow space between number and unit stays.
LINE_BREAKS = re.compile(r"[ \t-\r\x1c-\x1f\x85\u2028\u2029]+")
# Characters that can mark up text, wherever they stand. A `_` inside a word cannot, nor can a `<` or `&` before a space.
MARKS = re.compile(rf"[\\*\[\]~$`|@#>]|[<&](?![ {SPACE}])|(?<![^\W_])_|_(?![^\W_])")
ESCAPED = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "`": "'", "|": "¦", "@": "@\u200b", "#": "\\#\u200b"}
BLOCK = re.compile(r"(^ ?(?=[-+=](?:[-+= ]|$))|^ ?\d{1,9}(?=[.)](?: |$)))")  # before a list item, a rule, a heading's underline
LINKED = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=gh-)(?=\d)", re.IGNORECASE)  # what hosts link without any mark


def markdown(value: Any) -> Markup:
    """Return a value from data as Markdown that shows it as plain text on one line and gives it no effect.

    Hosts link mentions, issues and addresses in rendered text too, where no escape helps; a zero-width space breaks them.
    """
    text = MARKS.sub(lambda found: ESCAPED.get(found[0], f"\\{found[0]}"), one_line(value))
    return Markup(LINKED.sub("\u200b", BLOCK.sub(r"\1\\", text)))


def code(value: Any) -> Markup:
    """Return a value from data as a code span of Markdown, in which no other markup works."""
    return Markup(f"`{one_line(value).replace('`', ESCAPED['`']).replace('|', ESCAPED['|']) or ' '}`")


def verbatim(text: Any) -> Markup:
    """Return a text from data for an HTML block of Markdown, with its line breaks."""
    return Markup(html.escape(visible(str(text)), quote=False))


def one_line(value: Any) -> str:
    return clip(visible(LINE_BREAKS.sub(" ", str(value))), LONGEST_VALUE)


FILTERS = (
    formatting.metric_name,
    formatting.metric_help,
    formatting.total_name,
    formatting.system_name,
    formatting.percent,
    formatting.signed,
    formatting.rate,
    formatting.difference,
    formatting.probability,
    formatting.number,
    formatting.row_count,
    formatting.duration,
    formatting.size,
    formatting.gib,
    formatting.figure,
    formatting.bounds,
    formatting.clip,
    code,
    verbatim,
    formatting.gpu_memory,
)


def render(template: Path, **content: Any) -> str:
    """Return a template filled with `content`; `finalize` treats each value before Jinja escapes it for HTML."""
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        finalize=_in_markdown if template.name.endswith(".md.jinja") else _in_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    return environment.get_template(template.name).render(**content)


def _in_html(value: Any) -> Any:
    """Return a value without effect on the direction of writing; Jinja escapes it."""
    return visible(value.replace("\r\n", "\n")) if isinstance(value, str) and not isinstance(value, Markup) else value


def _in_markdown(value: Any) -> Any:
    return value if isinstance(value, Markup) else markdown(value)
