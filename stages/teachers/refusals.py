"""Why a server refused a request, in its own words, and the key of params.yaml that leaves out what it refuses."""

import json
import re
from typing import Any, get_args

from stages.params import LimitField, OpenAITeacher, OptionalField

UNKNOWN = re.compile(
    "unsupported|not (?:supported|permitted|allowed)|unrecogni[sz]ed|unknown|unexpected|extra|forbidden|deprecated|additional",
    re.IGNORECASE,
)
BAD_VALUE = re.compile(r"\bonly\b|must be|invalid|cannot", re.IGNORECASE)


def words(body: str) -> str:
    """Return the message in the body of an error, or what there is of a body of another form, on one line."""
    try:
        text = _flat(_message(json.loads(body)))
    except (ValueError, RecursionError):
        text = body
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
        return bool(re.search(rf"(?<![A-Za-z_]){field}(?![A-Za-z_])", message))

    is_unknown = bool(UNKNOWN.search(message))
    if is_unknown and names(options.limit_field):
        other = next(name for name in get_args(LimitField) if name != options.limit_field)
        return f"set teacher.limit_field={other}"
    refused = [name for name in get_args(OptionalField) if names(name) and name not in options.omit]
    if refused and (is_unknown or BAD_VALUE.search(message)):
        return f"set teacher.omit=[{','.join([*options.omit, *refused])}]"
    return ""
