"""Why a server refused a request, in its own words, and the key of params.yaml that leaves out what it refuses."""

import json
import re
from typing import Any, get_args

from stages.params import LimitField, OpenAITeacher, OptionalField

UNKNOWN = re.compile(
    "unsupported|not (?:support|permitted|allowed)|unrecogni[sz]ed|unknown|unexpected|extra|forbidden|deprecated|additional|"
    "不支持|不允许|未知",
    re.IGNORECASE,
)
BAD_VALUE = re.compile(r"\bonly\b|(?:must|should) be|invalid|cannot|非法|无效|必须", re.IGNORECASE)
ALTERNATIVES = re.compile(r"\bboth\b|only one|同时", re.IGNORECASE)  # each is taken without the other


def words(body: str) -> str:
    """Return the message in the body of an error, or what there is of a body of another form, on one line."""
    try:
        answer = json.loads(body)
        text = _flat(_message(answer))
    except (ValueError, RecursionError):
        answer, text = None, body
    error = answer.get("error") if isinstance(answer, dict) else None
    field = error.get("param") if isinstance(error, dict) else None
    if isinstance(field, str) and field not in text:
        text += f" (param: {field})"
    return " ".join(text.split())


def _message(body: Any) -> Any:
    """Return `error.message`, `message`, `detail` or `error`, whichever is there first; else the body."""
    if not isinstance(body, dict):
        return body
    inside = [body["error"]] if isinstance(body.get("error"), dict) else []
    found = (place.get(key) for place in (*inside, body) for key in ("message", "detail", "error"))
    return next(filter(None, found), body)


def _flat(value: Any) -> str:
    """Return a value of JSON without quotes and escapes, in which a key would be hard to recognize."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_flat(child)}" for key, child in value.items())
    return " ".join(map(_flat, value)) if isinstance(value, list) else str(value)


def remedy(message: str, options: OpenAITeacher) -> str:
    """Return what to set if the server does not take a field of the request, "" if its words name none."""

    def names(field: str) -> bool:
        spelled = field.replace("_", "_?")  # also presencePenalty
        return bool(re.search(rf"(?<![A-Za-z_]){spelled}(?![A-Za-z_])", message, re.IGNORECASE))

    is_unknown = bool(UNKNOWN.search(message))
    if is_unknown and names(options.limit_field):
        other = next(name for name in get_args(LimitField) if name != options.limit_field)
        return f"set teacher.limit_field={other}"
    refused = [name for name in get_args(OptionalField) if names(name) and name not in options.omit]
    if ALTERNATIVES.search(message):
        refused = refused[-1:]  # of temperature and top_p, methods set the first
    if refused and (is_unknown or BAD_VALUE.search(message)):
        return f"set teacher.omit=[{','.join([*options.omit, *refused])}]"
    return ""
