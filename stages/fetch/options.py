"""Read the options of a multiple-choice question and the right one, in the forms that data sets give them."""

import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from stages.errors import DataError
from stages.fetch.formats import kind_of
from stages.fetch.strict_json import loads
from stages.fetch.table import as_text

OPTIONS_LIKE = 'an object like {"A": "…", "B": "…"}, a list of texts, or a list of pairs like ["A", "…"]'
RIGHT = ("answer_idx", "answer_index", "answerkey", "answer")  # columns with the right option, in lower case


def texts(place: str, name: str, value: Any) -> dict[str, str]:
    """Return texts by letter, without nulls: in a table of the hub every row has the letters of the longest row."""
    try:
        found = loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError(f"{place}: {name!r} is not JSON: {error}; write {OPTIONS_LIKE}") from None
    if isinstance(found, dict) and found.keys() == {"text", "label"} and all(isinstance(v, list) for v in found.values()):
        if len(found["text"]) != len(found["label"]):  # ARC
            raise DataError(f"{place}: {name!r} has {len(found['text'])} texts, but {len(found['label'])} labels")
        found = list(zip(found["label"], found["text"], strict=True))
    elif isinstance(found, list) and found and all(isinstance(text, str) for text in found):  # MMLU
        found = list(zip(ascii_uppercase, found, strict=False)) if len(found) <= len(ascii_uppercase) else []
    pairs = list(found.items()) if isinstance(found, dict) else found if isinstance(found, list) else []
    pairs = [(pair.get("key"), pair.get("value")) if isinstance(pair, dict) else pair for pair in pairs]
    if not pairs or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise DataError(f"{place}: {name!r} must be {OPTIONS_LIKE}, got {kind_of(found)}")
    given = [(as_text(place, name, letter), as_text(place, name, text).strip()) for letter, text in pairs if text is not None]
    by_letter = {letter.strip(): text for letter, text in given}
    own = [re.match(rf"{re.escape(letter.strip())}\s*[.):]\s+(?=\S)", text) for letter, text in given]
    if all(own):  # each text brings its letter
        by_letter = {letter: text[len(mark[0]) :] for (letter, text), mark in zip(by_letter.items(), own, strict=False) if mark}
    different = {text for text in by_letter.values() if text}
    if not 2 <= len(given) <= 26 or min(len(by_letter), len(different)) < len(given):
        raise DataError(f"{place}: {name!r} must hold 2 to 26 options, no letter or text twice and none empty")
    return by_letter


def right(place: str, name: str, value: Any, options: dict[str, str]) -> str:
    """Return the text of the right option, which `value` names by its letter or its text."""
    if type(value) is int:
        if not 0 <= value < len(options):
            last = len(options) - 1
            raise DataError(f"{place}: {name!r} is {value}, but the {len(options)} options are counted from 0 to {last}")
        if list(options) != list(ascii_uppercase[: len(options)]):
            raise DataError(f"{place}: {name!r} is {value}, but the options are called {', '.join(options)}; name one as text")
        return list(options.values())[value]
    answer = as_text(place, name, value).strip()
    named = {text for letter, text in options.items() if answer in (letter, text)}
    if len(named) != 1:
        hint = "give the letter or the text of one, or a JSON number that counts from 0"
        if answer.isdecimal() and int(answer[:4]) < len(options):
            hint = f"if it counts from 0, set data.labels={codes(len(options))}"
        raise DataError(
            f"{place}: {name!r} is {answer[:40]!r}, which names {len(named)} of the options {', '.join(options)}; {hint}"
        )
    return named.pop()


def codes(count: int) -> str:
    """Return the data.labels that name options by their position from 0, for numbers that are texts, as in CSV."""
    return f"{{{', '.join(f'{number}: {letter}' for number, letter in enumerate(ascii_uppercase[:count]))}}}"


def refuse_contradiction(place: str, name: str, row: Mapping[str, Any], options: dict[str, str], answer: str) -> None:
    """Raise DataError if the answer stands in two columns and they name two options."""
    if name.lower() not in RIGHT:
        return
    for other in [other for other, value in row.items() if other.lower() in RIGHT and other != name and value is not None]:
        try:
            named = right(place, other, row[other], options)
        except DataError:  # it names the answer in another way, e.g. counted from 1 or as a sentence
            continue
        if named != answer:
            raise DataError(
                f"{place}: {name!r} names the option {answer[:40]!r}, {other!r} the option {named[:40]!r}; keep one"
            )
