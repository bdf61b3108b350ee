"""Why a server refused a request, in its own words, and what to set where it refuses a field."""

import json
import re
from typing import Any, get_args

from stages.params import LimitField, OpenAITeacher, OptionalField

UNKNOWN = re.compile(
    r"unsupported|not (?:support|permitted|allowed|available|enabled|implemented|a valid|recogni[sz]ed)|unrecogni[sz]ed|"
    r"unknown|unexpected|extra|forbidden|deprecated|additional|incompatible|disabled|removed|no such|does not exist|"
    "that support|不支持|不允许|未知",
    re.IGNORECASE,
)
BAD_VALUE = re.compile(
    r"\bonly\b|(?:must|should) be|invalid|cannot|\brange\b|constraint|maximum|too large|非法|无效|必须|取值范围", re.IGNORECASE
)
ALTERNATIVES = re.compile(r"\bboth\b|only one|mutually exclusive|同时", re.IGNORECASE)  # each is taken without the other
REFUSALS = (400, 413, 422, 451)  # of one request, while others are answered
OK = 200
FORBIDDEN = 403  # the same, unless it is about who asks
WHO = re.compile(
    r"\bkeys?\b|api.?key|credential|authenti|authori[sz]|permission|have access|access to|access.?denied|unregistered|"
    r"credit|quota|billing|balance|payment|subscription|account|organi[sz]ation|project|suspended|country|region|territory|"
    "余额|欠费|权限|认证|账号|账户|授权",
    re.IGNORECASE,
)
CONTENT = re.compile(
    r"content[ _-]?(?:filter|policy|policies|management|moderat|violat|block|exists? risk)|moderation|inappropriate|"
    r"(?:input|prompt|request|message)s? (?:\w{1,9} ){1,2}(?:flagged|filtered|blocked)|data.?inspection|prohibited|"
    r"block.?reason|sensitive|\bsafety\b|敏感|违规|不安全",
    re.IGNORECASE,
)
SPELLED = {  # where a server's words differ from the name of a field by more than its underscore
    "presence_penalty": r"(?:presence[_ ]?|\A)penalty",
    "max_tokens": r"max[_ ]?(?:output[_ ]?|new[_ ]?)?tokens",
}
OTHERS = re.compile(r"expected one of|did you mean|(?:supported|allowed|valid) (?:parameters|fields)", re.IGNORECASE)


def words(body: str) -> str:
    """Return the message in the body of an error, or what there is of a body of another form, on one line."""
    try:
        answer = json.loads(body)
        text = _flat(_message(answer))
    except (ValueError, RecursionError):
        answer, text = None, body
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        field, metadata = error.get("param"), error.get("metadata")
        if isinstance(field, str) and field not in text:
            text += f" (param: {field})"
        if isinstance(metadata, dict) and isinstance(raw := metadata.get("raw"), str):  # OpenRouter: the provider's body
            text += f": {words(raw)}"
    return " ".join(text.split())


def is_of_one(status: int, body: str) -> bool:
    """Return whether a server refused what a request asks, so that it may answer others.

    A 403 counts as such unless its words are about the key or the account; a page, which a firewall sends, tells nothing.
    A body with status 200 that holds no answer counts if it has the code of a refusal, or names a content filter.
    """
    text = words(body)
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    is_content = bool(CONTENT.search(f"{text} {code}"))
    if status == OK:
        return code in REFUSALS or (answer is not None and is_content)
    is_who = bool(WHO.search(text)) and not is_content and not text.startswith("<")
    return status in REFUSALS or (status == FORBIDDEN and not is_who)


def _message(body: Any) -> Any:
    """Return `error.message`, `message`, `detail` or `error`, whichever is there first; else the body."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
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
    """Return what to set if the server does not take a field of the request or its value, "" if its words name none."""
    message = OTHERS.split(message)[0]  # fields that it does take may follow

    def names(field: str) -> bool:
        spelled = SPELLED.get(field, field.replace("_", "[_ ]?"))  # also topP
        return bool(re.search(rf"(?<![A-Za-z_]){spelled}(?![A-Za-z_])", message, re.IGNORECASE))

    is_unknown = bool(UNKNOWN.search(message))
    if is_unknown and names(options.limit_field):
        other = next(name for name in get_args(LimitField) if name != options.limit_field)
        return f"set teacher.limit_field={other}"
    refused = [name for name in get_args(OptionalField) if names(name) and name not in options.omit]
    are_alternatives, is_bad_value = bool(ALTERNATIVES.search(message)), bool(BAD_VALUE.search(message))
    if are_alternatives:
        refused = refused[-1:]  # of temperature and top_p, methods set the first
    if refused and (is_unknown or is_bad_value or are_alternatives):
        return f"set teacher.omit=[{','.join([*options.omit, *refused])}]"
    return "lower max_new_tokens in synthesis" if is_bad_value and names(options.limit_field) else ""
