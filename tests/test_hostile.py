"""One hostile text does not stop or spoil a run: it is read as data, or refused with one line."""

import time
from itertools import pairwise
from pathlib import Path

import pytest

from stages import files, params
from stages.errors import DataError
from stages.records import Call, Message
from stages.synthesize import general_instruct, instances
from stages.text import chat, objects

DEEP = 100_000
LETTERS = "abcdefghijklmn"
ALIASES = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise(LETTERS))
FOREVER = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a * b %}{% endfor %}{% endfor %}"
NUMBERS = ["9" * 5000 + ". Do it.", "1. a\n" + "8" * 5000 + ". b", "Input " + "7" * 5000 + ": x\nOutput: y"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000 + "]" * 3000,
        "a: " + "{b: " * 3000 + "1" + "}" * 3000,
        "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghijklm", "bcdefghijklmn", strict=True)),
        "a: &a [*a]",
        "a: &a {b: *a}",
        f"a: {'9' * 5000}",
        f"a: 0x{'f' * 5000}",
        f"a: 0o{'7' * 5000}",
        f"{'9' * 5000}: a",
        "a: 2024-02-31",
        "? [a, b]\n: c",
        "a: !!python/object/apply:os.system ['true']",
        "a: 'x\0y'",
        "system: " + "a " * 2_000_000,
        "".join(f"key{number}: 1\n" for number in range(100_000)),
        "? " * 10_000,
        "a: &a\n  <<: *a",
        'a: "' + "x\n\n" * 500_000 + '"',
    ],
    ids=[
        "lists",
        "objects",
        "aliases",
        "own-alias",
        "own-object",
        "digits",
        "hex",
        "octal",
        "key",
        "date",
        "list-as-key",
        "python",
        "NUL",
        "long-text",
        "many-keys",
        "nested-keys",
        "merges-itself",
        "blank-lines",
    ],
)
def test_hostile_yaml_is_refused_with_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text, encoding="utf-8")
    started = time.perf_counter()
    with pytest.raises(DataError, match=r"^params\.yaml"):
        params.check_file()
    assert time.perf_counter() - started < 5


def test_alias_of_an_ordinary_file_is_read() -> None:
    assert files.read_yaml("a: &a [1, 2]\nb: *a\n", "here") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": 1e999}',
        '{"a": -1e999}',
        '{"a": [1, {"b": 1e400}]}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": ' + "[" * DEEP + "]" * DEEP + "}",
        '{"a":' * DEEP,
    ],
    ids=["huge", "minus huge", "nested huge", "NaN", "Infinity", "digits", "deep", "open"],
)
def test_answer_that_json_cannot_hold_is_no_object(answer: str) -> None:
    assert objects.parsed(answer) is None


@pytest.mark.parametrize(
    "text", ["9" * 5000 + ". Do it.", "1. a\n" + "8" * 5000 + ". b", "Input " + "7" * 5000 + ": x\nOutput: y"]
)
def test_number_of_5000_digits_in_a_list_is_text(text: str) -> None:
    call = Call(messages=(), request="r", text=text, stopped=True, prompt_tokens=1, new_tokens=1)
    general_instruct.listed(call, 2)
    assert isinstance(instances.read(call, is_closed=False), list)


@pytest.mark.model
@pytest.mark.parametrize(
    "template",
    [
        FOREVER,
        "{% for m in messages %}" + FOREVER + "{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 9 ** (9 ** 9) }}" * 3,
        "{% if messages | length > 9 %}{{ 9 ** (9 ** 9) }}{% endif %}",
        "{% set n = messages | length + 8 %}{{ n ** (n ** n) }}",
    ],
    ids=["loops", "per message", "recursion", "constant", "constants", "constant not reached", "power"],
)
def test_template_that_never_ends_is_stopped(template: str, tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(chat, "TEMPLATE_SECONDS", 0.2)
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(DataError, match=r"its chat template runs for more than 0\.2 s; choose another model"):
        chat.render(tokenizer, [Message(role="user", content="x")], answer_next=True)
