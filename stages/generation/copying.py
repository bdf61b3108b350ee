"""The grammar of JSON objects whose texts are copied from a prompt."""

import json
from typing import Any

from stages.text.copied import pieces, spaced

# Between tokens of an object; without a bound, a model could write it for ever.
SPACE = r"[ \n]{0,20}"
WHITE_SPACE = {"whitespace_flexible": True, "whitespace_pattern": SPACE}
TRIMMED = "/([^ ](.*[^ ])?)?/"


def grammar(schema: dict[str, Any], origin: str) -> str:
    """Return the JSON Schema of an object as a Lark grammar with llguidance's extensions.

    The object has the schema's properties in their order, of which `required` ones are always there. A string among them is a
    run of pieces of `origin`, with its white space or with single spaces. It does not begin or end in a space: a model that
    forgets to escape a quotation mark would end the text before it. Where a property has a pattern, it is such a run with this
    form; without any, the property has no string. Strings in lists and objects are free.
    """
    properties, required = schema["properties"], set(schema["required"])
    rules = [
        'start: "{" ws first_0 ws "}"',
        f"ws: /{SPACE}/",
        'copied: "\\"" (AS_IT_IS | SPACED) "\\""',
        f"AS_IT_IS: {_run_of(origin)} & {TRIMMED}",
        f"SPACED: {_run_of(spaced(origin))} & {TRIMMED}",
    ]
    for place, (name, field) in enumerate(properties.items()):
        member, after = f'{_quoted(_quoted(name))} ws ":" ws value_{place} more_{place + 1}', place + 1
        optional = name not in required
        rules += [
            f"first_{place}: {member}" + (f" | first_{after}" if optional else ""),
            f'more_{place}: ws "," ws {member}' + (f" | more_{after}" if optional else ""),
            f"value_{place}: {_value(field['type'], f'FORMED_{place}' if 'pattern' in field else 'copied')}",
        ]
        if "pattern" in field:  # with its quotation marks one terminal: none may be opened that no text can close
            form = f"/{field['pattern'].removeprefix('^').removesuffix('$').replace('/', chr(92) + '/')}/"
            rules += [
                f'FORMED_{place}: "\\"" (AS_IT_IS_{place} | SPACED_{place}) "\\""',
                f"AS_IT_IS_{place}: {_run_of(origin)} & {form}",
                f"SPACED_{place}: {_run_of(spaced(origin))} & {form}",
            ]
    return "\n".join([*rules, f'first_{len(properties)}: ""', f'more_{len(properties)}: ""'])


def _value(types: list[str], text: str) -> str:
    others = [name for name in types if name != "string"]
    return " | ".join(
        [text] * ("string" in types) + [f"%json {json.dumps({'type': others, 'x-guidance': WHITE_SPACE})}"] * bool(others)
    )


def _run_of(text: str) -> str:
    escaped = [_quoted(piece)[1:-1] for piece in pieces(text)]
    return f"%regex {json.dumps({'substring_chunks': escaped}, ensure_ascii=False)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # which Lark refuses
