"""Whether a chat template writes what rows hold, tried on published templates."""

from pathlib import Path

import pytest
import trl

from stages.errors import DataError
from stages.fetch.template import require_writable, require_written
from stages.format import audit
from stages.params import Format
from stages.records import Example, Message, Task, ToolCall
from stages.text import chat
from stages.text.turns import has_control_tokens

pytestmark = pytest.mark.model

PUBLISHED = Path(trl.__path__[0]) / "chat_templates"
CITY = '{"type": "object", "properties": {"city": {"type": "string", "description": "c"}}, "required": ["city"]}'
TOOLS = f'[{{"type": "function", "function": {{"name": "weather", "description": "d", "parameters": {CITY}}}}}]'
CALL = ToolCall(name="weather", arguments='{"city": "Rom"}', id="abcdefghi")


def turn(role: str, content: str = "x", **more) -> Message:
    return Message.model_validate({"role": role, "content": content} | more)


TOLD = turn("tool", "21", name="weather", tool_call_id="abcdefghi")
CALLED = turn("assistant", "", tool_calls=(CALL,))
CHATS = {
    "plain": [turn("user"), turn("assistant")],
    "system": [turn("system"), turn("user"), turn("assistant")],
    "developer": [turn("developer"), turn("user"), turn("assistant")],
    "thoughts": [turn("user"), turn("assistant", reasoning="hm"), turn("user"), turn("assistant")],
    "tools": [turn("user", tools=TOOLS), CALLED, TOLD, turn("assistant")],
    "two calls": [turn("user", tools=TOOLS), turn("assistant", "", tool_calls=(CALL, CALL)), TOLD, TOLD, turn("assistant")],
    "call at last": [turn("user", tools=TOOLS), CALLED],
    "untrained": [turn("user"), turn("assistant", trained=False), turn("user"), turn("assistant")],
}
ALL = set(CHATS)
WRITTEN = {
    "qwen3": ALL - {"developer"},
    "qwen2_5": ALL - {"developer", "thoughts"},
    "qwen3_instruct_2507": ALL - {"developer", "thoughts"},
    "gptoss": ALL,
    "llama3_1": ALL - {"thoughts", "two calls"},
    "gemma": {"plain", "untrained"},
    "gemma3": {"plain", "untrained", "system"},
    "gemma4": ALL - {"thoughts"},
    "phi3": {"plain", "untrained", "system"},
    "cohere": {"plain", "untrained", "system"},
    "glm4moe": ALL - {"developer"},
    "lfm2_v2": ALL - {"thoughts"},
}


@pytest.mark.parametrize("change", ["[:12]", " | e", " | upper", " | truncate(20)", " | replace('&', 'and')"])
def test_template_that_changes_what_users_write_is_refused(template, change):
    changing = template(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.role != 'user' else (m.content)"
        + change
        + " }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(DataError, match="does not write turns of the role user in full"):
        require_written(changing, [[turn("user", "Which tray holds the lot?"), turn("assistant", "the second")]])


def test_template_that_wants_a_system_turn_names_the_remedy(template):
    strict = template(
        "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(DataError, match=r"system first\), but it can after a system turn; set data\.system"):
        require_written(strict, [CHATS["plain"]])
    require_written(strict, [CHATS["system"]])


def published(template, name: str):
    return template((PUBLISHED / f"{name}.jinja").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", WRITTEN)
def test_published_template_writes_these_chats(template, name):
    tokenizer, written = published(template, name), set()
    for what, messages in CHATS.items():
        try:
            require_written(tokenizer, [messages])
            written.add(what)
        except DataError as error:
            assert "\n" not in str(error)
    assert written == WRITTEN[name]


@pytest.mark.parametrize(
    ("name", "what", "reason"),
    [
        ("gemma", "system", r"\(System role not supported\), but it can without the system turn; set data\.system to ''"),
        ("qwen3", "developer", "does not write turns of the role developer in full, .*; call that role system"),
        ("qwen2_5", "thoughts", "does not write reasoning_content, as in the chat with the question 'x'; leave such rows out"),
        ("llama3_1", "two calls", r"only supports single tool-calls at once"),
        ("phi3", "call at last", "does not write tool_calls|does not write the column of tools"),
    ],
)
def test_reason_is_named(template, name, what, reason):
    with pytest.raises(DataError, match=reason):
        require_written(published(template, name), [CHATS["plain"], CHATS[what]])


def test_template_that_ignores_a_role_or_arguments_is_refused(template):
    deaf = (
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(DataError, match="does not write turns of the role system"):
        require_written(template(deaf), [CHATS["system"]])
    with pytest.raises(DataError, match="does not write tool_calls"):
        require_written(template(deaf), [[turn("user"), CALLED]])


@pytest.mark.parametrize("arguments", ["{{ a }}", "{{ '' + a }}", "{{ a + '' }}", "{{ a ~ '' }}", "{{ a | tojson }}"])
def test_arguments_are_an_object_or_its_json(template, arguments):
    tokenizer = template(
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{% set a = c.function.arguments %}"
        "{{ 'map' if a is mapping }} {{ a.city }} " + arguments + "{% endfor %}<|im_end|>{% endfor %}"
    )
    assert 'map Rom {"city": "Rom"}' in chat.render(tokenizer, [turn("user"), CALLED], answer_next=False)


def test_control_tokens_of_a_call_are_text(template):
    tokenizer = published(template, "qwen3")
    hostile = '{"city": "<|im_end|>", "<|im_start|>": ["<|im_end|>"]}'
    messages = [
        turn("user", tools=TOOLS.replace("weather", "<|im_end|>")),
        CALLED.model_copy(update={"tool_calls": (ToolCall(name="<|im_end|>", arguments=hostile, id="<|im_end|>"),)}),
    ]
    (sequence,) = chat.encode(tokenizer, messages)
    (harmless,) = chat.encode(tokenizer, [turn("user", tools=TOOLS), CALLED])
    assert sum(token in (1, 2) for token in sequence.input_ids) == sum(token in (1, 2) for token in harmless.input_ids)
    assert '"<|im_start|>": ["<|im_end|>"]' in tokenizer.decode(sequence.input_ids)
    assert has_control_tokens(tokenizer, messages[1:])


CALLING = {
    "name": {"tool_calls": (ToolCall(name="<|im_end|>", arguments="{}"),)},
    "argument": {"tool_calls": (ToolCall(name="weather", arguments='{"city": ["<|im_end|>"]}'),)},
    "key": {"tool_calls": (ToolCall(name="weather", arguments='{"<|im_end|>": 1}'),)},
    "escaped": {"tool_calls": (ToolCall(name="weather", arguments='{"city": "\\u003c|im_end|>"}'),)},
    "id": {"tool_calls": (ToolCall(name="weather", arguments="{}", id="<|im_end|>"),)},
    "thoughts": {"reasoning": "<|im_end|>"},
    "description": {"tools": TOOLS.replace("weather", "<|im_end|>")},
}


@pytest.mark.parametrize("hostile", CALLING.values(), ids=CALLING)
def test_control_token_anywhere_in_a_turn_is_counted(template, hostile):
    tokenizer = published(template, "qwen3")
    assert has_control_tokens(tokenizer, [turn("user"), turn("assistant", **hostile)])
    assert not has_control_tokens(tokenizer, [turn("user", tools=TOOLS), CALLED])


def test_thoughts_are_trained_on_where_the_template_writes_them(template):
    tokenizer = published(template, "qwen3")
    first, second = chat.encode(tokenizer, CHATS["thoughts"])
    assert tokenizer.decode(first.answers[0]) == "<think>\nhm\n</think>\n\nx<|im_end|>"
    assert tokenizer.decode(second.answers[0]) == "x<|im_end|>"
    assert "hm" not in tokenizer.decode(second.input_ids)


def test_call_as_the_answer_is_scored_as_the_model_writes_it(template):
    tokenizer = published(template, "qwen3")
    limits = Format(authored=True, max_length=9999, overlong="fail", overlap_ngram=None, max_lost=0.0, shots=0)
    (row,) = audit.fit({"train": [Example(kind="text", messages=tuple(CHATS["call at last"]), source="s")]}, tokenizer, limits)[
        0
    ]["train"]
    assert row.reference == '<tool_call>\n{"name": "weather", "arguments": {"city": "Rom"}}\n</tool_call>'
    assert Example.model_validate_json(row.model_dump_json(exclude_defaults=True)) == row


def test_tokenizer_that_loses_most_answers_is_refused_early(tokenizer, monkeypatch):
    tasks = [Task(kind="text", input=f"q{n}", output="{}" if n % 3 else "fine", source="s") for n in range(1000)]
    require_writable(tokenizer, tasks, 0.05)
    decode = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda *given, **how: decode(*given, **how).replace("{}", ""))
    with pytest.raises(
        DataError, match=r"cannot write 1\d\d of 200 answers, e\.g\. '{}' becomes ''; .*format\.max_lost = 0\.05"
    ):
        require_writable(tokenizer, tasks, 0.05)
    require_writable(tokenizer, tasks, 1.0)
    require_writable(tokenizer, [*tasks[:50], *(task for task in tasks if task.output == "fine")], 0.05)  # left to format
