"""Self-Instruct as published, with a scripted teacher: seeds, prompts, filters, every way to end."""

import re
from pathlib import Path

import pytest

from stages.errors import DataError
from stages.fetch import seeds
from stages.records import Call
from stages.synthesize import diversity, filters, general_instruct
from stages.synthesize.made import Made, Rejected, funnel
from tests.fixtures.instructing import DEFAULT, NEW, POOL, examples, list_prompts, numbered, run, script


def test_the_shipped_values_are_the_published_ones() -> None:
    assert (DEFAULT.human, DEFAULT.machine, DEFAULT.instances, DEFAULT.max_rouge_l) == (6, 2, 5, 0.7)
    assert (DEFAULT.rules.en.min_words, DEFAULT.rules.en.max_words) == (4, 150)
    how = DEFAULT.instruction_sampling
    assert (how.temperature, how.top_p, how.presence_penalty) == (0.7, 0.5, 2.0)
    assert DEFAULT.classification_sampling.temperature == DEFAULT.instance_sampling.temperature == 0


def test_the_seeds_are_a_hundred_and_more_of_every_kind() -> None:
    assert len(POOL) >= 110
    assert sum(task.kind == "classification" for task in POOL) >= 25
    assert sum(bool(task.history) for task in POOL) >= 5
    assert sum(filters.is_chinese(task.instruction) for task in POOL) >= 12
    assert min(sum(bool(task.input) for task in POOL), sum(not task.input for task in POOL)) >= 30
    assert [task.source for task in POOL if task.choices and task.output not in task.choices] == []
    assert [task.source for task in POOL if (task.kind == "classification") != bool(task.choices)] == []


def test_every_seed_passes_the_filters() -> None:
    novelty, refused = filters.Novelty([], DEFAULT.max_rouge_l), []
    for task in POOL:
        made, candidate = Made(), general_instruct.Candidate(task.instruction, None, ("call",))
        if not general_instruct._is_accepted(candidate, made, novelty, DEFAULT):
            refused.append((made.rejected[0].filter, made.rejected[0].reason, task.instruction))
    assert refused == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"instruction": "Do it now, please.", "input": "", "classification": false}',
            "seeds.jsonl:2: output: Field required",
        ),
        ('{"instruction": " ", "input": "", "output": "x", "classification": false}', "seeds.jsonl:2: instruction: "),
        ('{"instruction": "x", "input": "", "output": "x", "classification": "no"}', "seeds.jsonl:2: classification: "),
        ("not json", "seeds.jsonl:2: Invalid JSON: "),
    ],
)
def test_a_bad_seed_is_named_with_file_line_and_field(tmp_path: Path, line: str, message: str) -> None:
    good = '{"instruction": "x", "input": "", "output": "x", "classification": false}'
    path = tmp_path / "seeds.jsonl"
    path.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        seeds.seed_tasks(path)
    assert message in str(caught.value)


def test_prompt_shows_seeds_then_kept_instructions() -> None:
    teacher = script([numbered(NEW[:3]), numbered(NEW[3:5])])
    made = run(teacher, target=5)
    first, second = list_prompts(teacher)
    human = {task.instruction.rstrip(":") for task in POOL}
    assert len(set(first)) == len(first) == 8
    assert set(first) <= human
    assert len(set(second) & human) == 6
    assert len(set(second) & set(NEW[:3])) == 2
    assert [document.text for document in made.kept] == list(NEW[:5])


def test_steps_sample_as_published_and_number_equal_prompts() -> None:
    teacher = script([numbered(NEW[:1])])
    run(teacher, requests=3)
    assert [ask.sampling for ask in teacher.asks] == [
        *[DEFAULT.instruction_sampling] * 3,
        DEFAULT.classification_sampling,
        DEFAULT.instance_sampling,
    ]
    assert [ask.sample for ask in teacher.asks[:3]] == [0, 1, 2]


def test_what_is_asked_depends_on_the_seed_alone() -> None:
    asked = []
    for seed in (1, 1, 2):
        teacher = script([numbered(NEW[:3])])
        run(teacher, seed)
        asked.append([call.messages for call in teacher.calls])
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Do the first thing.\n10. Do the second.\n11. Do the third.",
            ["Do the first thing.", "Do the second.", "Do the third."],
        ),
        ("9. Do the first thing.\n10. Do the second.", ["Do the first thing.", "Do the second."]),
        ("Sure, here they are:\n\n9. Do the first thing.\n\n10. Do the second.", ["Do the first thing.", "Do the second."]),
        ("Do it\n   over two lines.\n\nThat was all!", ["Do it over two lines."]),
        ("15. The last one.\n16. One too many.\n17. And another.", ["The last one."]),
        ("", []),
        ("9.", []),
    ],
)
def test_an_answer_is_read_as_the_continued_list(text: str, expected: list[str]) -> None:
    call = Call(messages=(), request="", text=text, stopped=True, prompt_tokens=1, new_tokens=1)
    assert [found for found, _ in general_instruct.listed(call, 8)] == expected


REFUSED = [
    ("Too short now", "length", "3 words, allowed are 4 to 150"),
    ("word " * 151, "length", "151 words"),
    ("Describe the Image in one sentence.", "keywords", "'Image'"),
    ("List all files that were changed today.", "keywords", "'files'"),
    ("Please go to the next shop and buy milk.", "keywords", "'go to'"),
    ("Write a program that adds two numbers.", "prefix", "'Write a program'"),
    ('"Quoted words" should be explained to a child.', "punctuation", "'\"'"),
    ("- Sort these five words by length.", "punctuation", "'-'"),
    ("Переведите это предложение на английский язык.", "script", "in none of en, zh"),
    (f"{POOL[0].instruction}", "novelty", "ROUGE-L 1.00"),
    ("写一首诗", "length", "4 words, allowed are 5 to 250"),
    ("请根据这张图片写一段话。", "keywords", "'图片'"),
    ("写一个程序，计算两个数的和。", "prefix", "'写一个程序'"),
    ("写一个Python函数，计算两个数的和。", "prefix", "'写一个Python'"),
    ("请编写程序，计算两个数的和。", "prefix", "'请编写程序'"),
    ("写一段代码，计算两个数的和。", "prefix", "'写一段代码'"),
    ("请画一只坐在窗边的猫。", "keywords", "'画一只'"),
    ("请看图写一段话。", "keywords", "'看图'"),
    ("请把这段音频转成文字。", "keywords", "'音频'"),
    ("，请把下面的句子补充完整。", "punctuation", "'，'"),
    ("请把下面这封投诉信概括成两句话。", "novelty", "ROUGE-L"),
]


@pytest.mark.parametrize(("text", "name", "reason"), REFUSED)
def test_rejection_names_filter_reason_and_call(text: str, name: str, reason: str) -> None:
    teacher = script([numbered([text.strip()])])
    (rejection,) = run(teacher).rejected
    assert (rejection.filter, rejection.parents) == (name, (teacher.calls[0].id,))
    assert reason in rejection.reason


@pytest.mark.parametrize(
    "text",
    [
        "Plotting a course at sea needs which instruments?",
        "Writing a program needs what kind of thinking?",
        "IBAN 是什么？请用一句话解释。",
        "《红楼梦》的作者是谁？请简单介绍。",
        "Translate the word 你好 into English, please.",
    ],
)
def test_lookalike_of_a_refused_instruction_is_kept(text: str) -> None:
    assert [document.text for document in run(script([numbered([text])])).kept] == [text]


def test_english_only_drops_chinese_instructions() -> None:
    teacher = script([numbered(["请写一首关于秋天的诗。", NEW[0]])])
    made = run(teacher, languages=["en"])
    assert [rejection.text for rejection in made.rejected] == ["请写一首关于秋天的诗。"]
    assert not any(filters.is_chinese(text) for text in list_prompts(teacher)[0])


def test_cut_off_list_is_dropped_before_number_sixteen() -> None:
    cut = run(script([numbered(NEW[:2])], cut_off=[NEW[1]]))
    assert [rejection.filter for rejection in cut.rejected] == ["finished"] * 2
    long = numbered([*NEW, "One that comes after the end."])
    assert len(run(script([long], cut_off=[NEW[1]]), target=7).kept) == 7


def test_unlisted_filter_is_off() -> None:
    made = run(script([numbered(["Describe the image in one sentence."])]), filters=["length", "novelty"])
    assert [document.text for document in made.kept] == ["Describe the image in one sentence."]
    assert list(made.filters) == ["length", "novelty", "instances"]


def test_rows_can_be_traced_to_their_calls_and_demonstrations() -> None:
    teacher = script([numbered(NEW[:3]), numbered(NEW[3:5])])
    made = run(teacher, target=5)
    calls, documents, seeds = (
        {call.id for call in teacher.calls},
        {document.id: document for document in made.kept},
        {task.id for task in POOL},
    )
    for task in made.tasks:
        document, answer = task.parents
        assert answer in calls
        parents = documents[document].parents
        assert len(set(parents) & calls) == 3
        assert len(parents) == 3 + 8
        assert set(parents) <= calls | seeds | set(documents)


def test_it_ends_at_the_target() -> None:
    made = run(script([numbered(NEW[:2]), numbered(NEW[2:4]), numbered(NEW[4:6])]), target=3)
    assert (made.figures["ended_by"], made.figures["rounds"], len(made.kept)) == ("target", 2, 4)


def test_it_ends_after_rounds_without_anything_new() -> None:
    made = run(script([numbered(NEW[:1]), numbered(NEW[:1]), "", numbered(NEW[1:2])]), target=9, patience=2)
    assert (made.figures["ended_by"], made.figures["rounds"], len(made.kept)) == ("patience", 3, 1)


@pytest.mark.parametrize("limit", range(8))
def test_spent_budget_keeps_finished_instructions(limit: int) -> None:
    made = run(script([numbered(NEW[:2]), numbered(NEW[2:4])], limit=limit), target=9, patience=9)
    assert made.figures["ended_by"] == "budget"
    assert [document.text for document in made.kept] == list(NEW[: max(0, min(limit, 5) - 3)])  # 1 list, 2 questions, 2 answers


def test_silent_teacher_ends_with_zero_counts() -> None:
    made = run(script([]), patience=3)
    listed = funnel("self_instruct", made, 3, "")
    assert (made.kept, made.tasks, made.figures["ended_by"]) == ([], [], "patience")
    assert [step.count for step in listed.stages] == [3] + [0] * (len(listed.stages) - 1)
    assert [(one.filter, one.reason) for one in made.rejected] == [("finished", "is empty")] * 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("", "is empty"), ("Let me think", "was cut off at max_new_tokens"), ("16. One too many", "holds no instruction")],
)
def test_list_without_instructions_names_its_fault(reply: str, reason: str) -> None:
    made = run(script([reply], cut_off=["think"]), filters=["novelty", "finished"])
    assert [(one.filter, one.reason) for one in made.rejected] == [("finished", reason)]


def test_list_without_text_never_passes() -> None:
    made = run(script([""]), filters=["punctuation", "novelty"])
    assert (made.kept, [one.reason for one in made.rejected]) == ([], ["is empty"])


def test_silence_is_no_answer_to_whether_it_is_classification() -> None:
    teacher = script([numbered(NEW[:2])], closed=[NEW[1]])
    answer = teacher.reply
    silent = f"Task: {NEW[0]}\nIs it classification?"
    teacher.reply = lambda prompt: ("", True) if prompt.endswith(silent) else answer(prompt)
    made = run(teacher, target=9)
    assert [(one.filter, one.text, one.reason) for one in made.rejected if one.text == NEW[0]] == [
        ("instances", NEW[0], "whether it is classification: the reply is empty")
    ]


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(DataError, match=re.escape("data/authored/self_instruct/seeds.jsonl has 7")):
        run(script([]), pool=POOL[:7])


def test_include_seeds_adds_seed_tasks_to_the_rows() -> None:
    assert len(run(script([numbered(NEW[:1])]), include_seeds=True).tasks) == 1 + len(POOL)


def test_funnel_counts_instructions_and_figures_instances() -> None:
    texts = ["Too short", NEW[0], NEW[1], "Draw a cat for me, please."]
    teacher = script([numbered(texts)], {NEW[0]: examples(("a", "a"), ("b", "c")), NEW[1]: "none"})
    listed = funnel("self_instruct", run(teacher), len(teacher.calls), "")
    counts = {step.stage: step.count for step in listed.stages}
    assert (counts["generated"], counts["length"], counts["keywords"], counts["novelty"], counts["kept"]) == (4, 3, 2, 2, 1)
    inner = {step.stage: step.count for step in listed.figures["instances"]}
    assert (inner["generated"], inner["instance_echo"], inner["kept"]) == (2, 1, 1)
    assert listed.rejected["instance_echo"] == Rejected(count=1, examples=[f"{NEW[0]}\na\na"])


def test_diversity_counts_distinct_grams_and_nearest_seed() -> None:
    listed = diversity.figures(["a b a b", "a b c d"], ["a b c d", "x y"])
    assert (listed["distinct_1"], listed["distinct_2"]) == (0.5, 0.6667)
    assert {bar["from"]: bar["count"] for bar in listed["nearest_seed_rouge_l"] if bar["count"]} == {0.5: 1, 0.9: 1}
    assert sum(bar["count"] for bar in diversity.figures([], ["a"])["nearest_seed_rouge_l"]) == 0


def test_braces_in_an_instruction_are_text_not_template() -> None:
    teacher = script([numbered(["Explain what {{ 7 * 7 }} and {% raw %} mean."])])
    run(teacher)
    assert "{{ 7 * 7 }} and {% raw %}" in teacher.calls[-1].messages[0].content


@pytest.mark.parametrize("digits", [10, 5000, 50_000])
def test_a_huge_number_starts_no_item(digits: int) -> None:
    text = f"a\n{'1' * digits}. b\n4. c"
    call = Call(messages=(), request="", text=text, stopped=True, prompt_tokens=1, new_tokens=1)
    assert [found for found, _ in general_instruct.listed(call, 2)] == [f"a {'1' * digits}. b"]
