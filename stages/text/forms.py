"""Forms that texts of a field can have, as patterns of a JSON Schema in the syntax that Rust and Python's `regex` share."""

import regex

WORD = r"\p{L}\p{M}\p{N}"
FORMS = {
    "an e-mail address": rf"^[{WORD}_][{WORD}._%+'-]*@[{WORD}][{WORD}.-]*\.[\p{{L}}\p{{M}}]{{2,}}$",
    "a date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "a URL": r"^https?://[^\s<>\x22]+$",
}
NAMES = {pattern: name for name, pattern in FORMS.items()}


def has_form(text: str, pattern: str) -> bool:
    return bool(regex.fullmatch(pattern, text))


def parts(text: str, pattern: str) -> list[str]:
    """Return the parts of a text that have a form."""
    return [found.group() for found in regex.finditer(pattern.removeprefix("^").removesuffix("$"), text)]
