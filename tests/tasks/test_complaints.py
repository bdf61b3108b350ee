"""The authored complaints and the rows composed from them: variety, separate splits, hard rows, right answers."""

import hashlib
import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from stages import params
from stages.errors import DataError
from stages.fetch import authored
from stages.fetch.splits import SPLITS
from stages.params import ComplaintsData, Params, Splits, compose
from stages.records import Document, Task, content_hash
from stages.synthesize import filters
from stages.tasks import complaints
from stages.tasks.complaints import FIELDS, PLACEHOLDER, SEGMENT, Mix
from stages.text import rouge

MASHED = re.compile(r"[ \n][asdfghjkl;qwertyuiop]{5,14}$")
PLACED = re.compile(r"@|\{|\}|\[\[|\]\]|\|\|")  # what only a layout may hold
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
MIX = Mix(missing=0.2, second_email=0.15, noise=0.3, accents=0.25)
VALUES = {"name": "NAME-1", "address": "ADDRESS-2", "email": "EMAIL-3", "other_email": "OTHER-4", "question": "QUESTION-5."}

Documents = dict[str, tuple[list[Document], list[Document]]]

AUTHORED = compose.ROOT / "data/authored"
FURTHER = {"complaints_unseen": "unseen-", "complaints_one_line": "line-"}  # further test sets, and how their layouts are named


@pytest.fixture(scope="module")
def default() -> Params:
    return params.check(compose.composed("experiment=complaints"))


@pytest.fixture(scope="module")
def data(default: Params) -> ComplaintsData:
    assert isinstance(default.data, ComplaintsData)
    return default.data.model_copy(update={"path": str(compose.ROOT / default.data.path)})


@pytest.fixture(scope="module")
def documents(data: ComplaintsData) -> Documents:
    return {split: authored.documents(Path(data.path), split) for split in SPLITS}


@pytest.fixture(scope="module")
def further() -> Documents:
    """Return bodies and layouts of the further test sets."""
    return {name: authored.documents(AUTHORED / name, "test") for name in FURTHER}


@pytest.fixture(scope="module")
def rows(default: Params, data: ComplaintsData) -> dict[str, list[Task]]:
    """Return the rows of the default experiment."""
    return authored.complaints(data, default.seed)[1]


def collapsed(text: str) -> str:
    return " ".join(text.split())


def document(text: str, kind: str = "body", source: str = "s") -> Document:
    return Document(text=text, kind=kind, source=source)


@pytest.mark.parametrize(("split", "bodies", "layouts"), [("train", 460, 240), ("valid", 49, 52), ("test", 30, 40)])
def test_every_split_has_enough_variety(documents: Documents, split: str, bodies: int, layouts: int) -> None:
    assert len({collapsed(body.text).lower() for body in documents[split][0]}) >= bodies
    assert len({collapsed(layout.text) for layout in documents[split][1]}) >= layouts
    assert {"letter", "email", "form", "call_note", "ticket", "chat"} <= {layout.kind for layout in documents[split][1]}


@pytest.mark.parametrize("split", ["train", "valid"])
def test_some_layouts_are_typed_without_a_form(documents: Documents, split: str) -> None:
    lines = [layout for layout in documents[split][1] if layout.kind == "line"]
    texts = [complaints.fill(layout.text, VALUES) for layout in lines]
    assert [sign for sign in ("|", ";", "/", "(", '"', "wrote") if not any(sign in text for text in texts)] == []
    orders = {tuple(key for key in PLACEHOLDER.findall(layout.text) if key in FIELDS) for layout in lines}
    assert len(orders) >= (24 if split == "train" else 6)


def test_splits_share_neither_bodies_nor_layouts(documents: Documents) -> None:
    for one, other in combinations(SPLITS, 2):
        for part in (0, 1):
            texts = [{collapsed(found.text).lower() for found in documents[split][part]} for split in (one, other)]
            assert texts[0].isdisjoint(texts[1]), (one, other)
    sources = [layout.source for split in SPLITS for layout in documents[split][1]]
    assert len(sources) == len(set(sources))


@pytest.mark.parametrize("name", FURTHER)
def test_further_test_set_shares_nothing_with_others(documents: Documents, further: Documents, name: str) -> None:
    bodies, layouts = further[name]
    assert len(bodies) >= 30 and len(layouts) >= 40
    assert {layout.kind for layout in layouts} == {layout.kind for layout in documents["test"][1]}
    others = [*documents.values(), *(found for other, found in further.items() if other != name)]
    known = [(found.text, filters.tokens(found.text)) for part in others for found in part[0]]
    both = [*product([(body.text, filters.tokens(body.text)) for body in bodies], known)]
    assert [(a, b) for (a, x), (b, y) in both if rouge.rouge_l(x, y) >= 0.5] == []
    before = {collapsed(found.text) for part in others for found in part[1]}
    assert before.isdisjoint({collapsed(layout.text) for layout in layouts})
    assert all(layout.source.startswith(FURTHER[name]) for layout in layouts)
    for split in ("train", "valid"):
        assert authored.documents(AUTHORED / name, split) == documents[split]


def test_one_line_set_has_200_rows_of_one_line(default: Params, further: Documents) -> None:
    bodies = [(body.text, filters.tokens(body.text)) for body in further["complaints_one_line"][0]]
    assert [(a, b) for (a, x), (b, y) in combinations(bodies, 2) if rouge.rouge_l(x, y) >= 0.5] == []
    assert [text for text, _ in bodies if PLACED.search(text) or not 8 <= len(text.split()) <= 60] == []
    p = params.check(compose.composed("experiment=complaints_one_line"))
    assert isinstance(p.data, ComplaintsData)
    assert p.train == default.train
    rows = authored.complaints(p.data.model_copy(update={"path": str(compose.ROOT / p.data.path)}), p.seed)[1]["test"]
    assert [row.input for row in rows if "\n" in row.input and "noise" not in row.slices] == []
    for row in rows:
        values = [value for value in json.loads(row.output).values() if value]
        assert [value for value in values if value not in collapsed(row.input)] == []
    shares = {name: sum(name in row.slices for row in rows) for name in ("missing", "second_email", "noise")}
    assert (len(rows), shares) == (200, {"missing": 40, "second_email": 30, "noise": 40})


def test_joined_set_holds_the_three_test_sets(documents: Documents, further: Documents) -> None:
    joined = authored.documents(AUTHORED / "complaints_all", "test")
    three = [documents["test"], *further.values()]
    for part in (0, 1):
        assert [found.text.strip() for found in joined[part]] == [found.text.strip() for each in three for found in each[part]]
    p = params.check(compose.composed("experiment=complaints_dpo"))
    assert isinstance(p.data, ComplaintsData)
    data = p.data.model_copy(update={"path": str(compose.ROOT / p.data.path)})
    rows = authored.complaints(data, p.seed)[1]
    assert len(rows["test"]) == 640 and len({row.source for row in rows["test"]}) == len(joined[1])


def test_joined_set_is_trained_on_the_rows_of_the_default(default: Params, rows: dict[str, list[Task]]) -> None:
    p = params.check(compose.composed("experiment=complaints_two_epochs"))
    assert isinstance(p.data, ComplaintsData)
    joined = authored.complaints(p.data.model_copy(update={"path": str(compose.ROOT / p.data.path)}), p.seed)[1]
    assert [joined[split] for split in ("train", "valid")] == [rows[split] for split in ("train", "valid")]
    assert p.train == default.train.model_copy(update={"num_train_epochs": 2.0})


def test_no_two_bodies_are_alike(documents: Documents) -> None:
    bodies = [(body.text, filters.tokens(body.text)) for split in SPLITS for body in documents[split][0]]
    alike = [(a, b) for (a, x), (b, y) in combinations(bodies, 2) if rouge.rouge_l(x, y) >= 0.5]
    assert alike == []


def test_rouge_score_agrees_that_bodies_differ(documents: Documents) -> None:
    pairs = list(combinations([body.text for split in SPLITS for body in documents[split][0]], 2))
    scorer = RougeScorer(["rougeL"])
    for a, b in random.Random(1).sample(pairs, 300):
        measured = scorer.score(a, b)["rougeL"].fmeasure
        assert rouge.rouge_l(filters.tokens(a), filters.tokens(b)) == pytest.approx(measured, abs=1e-9)
        assert measured < 0.5


def test_bodies_hold_nothing_that_the_layout_adds(documents: Documents) -> None:
    found = [body.text for split in SPLITS for body in documents[split][0] if PLACED.search(body.text)]
    assert found == []


@pytest.mark.parametrize("name", [*SPLITS, *FURTHER])
def test_layouts_hold_each_value_once(documents: Documents, further: Documents, name: str) -> None:
    for layout in {**documents, **further}[name][1]:
        segments = [PLACEHOLDER.findall(match[1]) for match in SEGMENT.finditer(layout.text)]
        assert PLACEHOLDER.findall(SEGMENT.sub("", layout.text)) == ["question"], layout.source
        assert sorted(segments) == [["address"], ["email"], ["name"], ["other_email"]], layout.source


@pytest.mark.parametrize("name", [*SPLITS, *FURTHER])
def test_every_layout_renders_whatever_is_missing(documents: Documents, further: Documents, name: str) -> None:
    optional = ("name", "address", "email", "other_email")
    for layout, present in product({**documents, **further}[name][1], product((True, False), repeat=4)):
        values = {**VALUES, **{key: VALUES[key] if there else None for key, there in zip(optional, present, strict=True)}}
        text = complaints.fill(layout.text, values)
        assert re.findall(r"\[\[|\]\]|\|\||[{}]|\n{3}|^\s|\s$", text) == [], layout.source
        assert text.count("None") <= layout.text.count("None"), layout.source
        assert {key for key in VALUES if VALUES[key] in text} == {key for key in VALUES if values[key]}, layout.source


@pytest.mark.parametrize("split", SPLITS)
def test_rows_use_all_bodies_and_layouts(
    rows: dict[str, list[Task]], documents: Documents, data: ComplaintsData, split: str
) -> None:
    assert len(rows[split]) == getattr(data.rows, split)
    assert len({row.input for row in rows[split]}) == len(rows[split])
    for part in documents[split]:
        used = [sum(found.id in row.parents for row in rows[split]) for found in part]
        assert max(used) - min(used) <= 1
    layouts = {layout.source for layout in documents[split][1]}
    assert {row.source for row in rows[split]} == layouts


def test_the_test_split_is_large_enough(rows: dict[str, list[Task]]) -> None:
    assert len(rows["test"]) >= 200


@pytest.mark.parametrize("split", SPLITS)
def test_hard_rows_have_their_shares_and_slices(
    rows: dict[str, list[Task]], documents: Documents, data: ComplaintsData, split: str
) -> None:
    counted = {"missing": 0, "second_email": 0, "noise": 0, "accents": 0}
    clean = {document.id: document.text for part in documents[split] for document in part}
    for row in rows[split]:
        gold = json.loads(row.output)
        mash = MASHED.search(row.input)
        seen = {
            "missing": None in gold.values(),
            "second_email": bool(set(EMAIL.findall(row.input)) - {gold["email"]}),
            "noise": mash is not None and not any(mash[0].strip() in clean[parent] for parent in row.parents),
            "accents": not "".join(gold[key] or "" for key in ("name", "address", "email")).isascii(),
        }
        assert row.slices == (tuple(name for name, on in seen.items() if on) or ("clean",)), row.input
        for name, on in seen.items():
            counted[name] += on
    total = len(rows[split])
    assert counted["missing"] >= 0.15 * total
    assert counted["second_email"] >= 0.10 * total
    assert counted["noise"] >= 0.15 * total
    assert counted["accents"] == round(getattr(data.accents, split) * total)


@pytest.mark.parametrize("split", SPLITS)
def test_gold_values_are_those_of_the_clean_text(rows: dict[str, list[Task]], documents: Documents, split: str) -> None:
    bodies = {body.id: body.text for body in documents[split][0]}
    for row in rows[split]:
        gold = json.loads(row.output)
        assert tuple(gold) == FIELDS
        assert gold["question"] == bodies[row.parents[0]]
        values = [value for value in gold.values() if value is not None]
        assert len(values) >= 3
        assert [value for value in values if collapsed(value) not in collapsed(row.input)] == []
        assert [value for value in values if value != collapsed(value)] == []
        if "noise" in row.slices and (mash := MASHED.search(row.input)):
            assert [value for value in values if value.endswith(mash[0].strip())] == []


def test_missing_values_stand_nowhere_in_the_text(rows: dict[str, list[Task]]) -> None:
    for split in SPLITS:
        lacking = [key for row in rows[split] for key, value in json.loads(row.output).items() if value is None]
        assert set(lacking) == {"name", "address", "email"}
    without_email = [
        row for row in rows["test"] if json.loads(row.output)["email"] is None and "second_email" not in row.slices
    ]
    assert without_email
    assert [row.input for row in without_email if EMAIL.search(row.input)] == []


def test_only_train_documents_are_shown_to_a_teacher(default: Params, data: ComplaintsData, documents: Documents) -> None:
    few = data.model_copy(update={"rows": Splits(train=4, valid=4, test=4)})
    found, _ = authored.complaints(few, default.seed)
    assert found["train"] == [*documents["train"][0], *documents["train"][1]]


def digest(data: ComplaintsData, seed: int) -> str:
    few = data.model_copy(update={"rows": Splits(train=30, valid=20, test=20)})
    found, splits = authored.complaints(few, seed)
    stored = [record.model_dump_json() for part in (*found.values(), *splits.values()) for record in part]
    return hashlib.sha256("\n".join(stored).encode()).hexdigest()


def test_same_seed_gives_same_rows_in_another_process(data: ComplaintsData) -> None:
    program = (
        "import importlib.util, sys; from stages.params import ComplaintsData\n"
        "spec = importlib.util.spec_from_file_location('tested', sys.argv[1]); tested = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(tested)\n"
        "print(tested.digest(ComplaintsData.model_validate_json(sys.argv[2]), 7))\n"
    )
    command = [sys.executable, "-c", program, __file__, data.model_dump_json()]
    other = subprocess.run(command, cwd=compose.ROOT, env={"PYTHONHASHSEED": "123"}, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(data, 7)
    assert digest(data, 8) != digest(data, 7)


def test_more_rows_of_one_split_leave_the_others_as_they_are(default: Params, data: ComplaintsData) -> None:
    counts = [Splits(train=10, valid=6, test=6), Splits(train=20, valid=6, test=6)]
    tested = [authored.complaints(data.model_copy(update={"rows": count}), default.seed)[1]["test"] for count in counts]
    assert content_hash([row.id for row in tested[0]]) == content_hash([row.id for row in tested[1]])


@pytest.mark.parametrize(
    "body",
    ["My {email} was ignored.", "See [[x]] and [[{name}||y]].", "a || b", "{question}", "{other}", "100 % {", r"\1"],
)
def test_inserted_values_are_never_read_as_layout(body: str) -> None:
    layout = "[[From {name}]]\n{question}\n[[Mail: {email}]]"
    values = {**VALUES, "question": body, "name": "{address}"}
    assert complaints.fill(layout, values) == f"From {{address}}\n{body}\nMail: EMAIL-3"


@pytest.mark.parametrize(
    ("layout", "missing", "text"),
    [
        ("[[{name}]]\n\n{question}", "name", "QUESTION-5."),
        ("[[{name}||(no name)]]\n{question}", "name", "(no name)\nQUESTION-5."),
        ("A[[, {name},]] B: {question}", "name", "A B: QUESTION-5."),
        ("{question}\n\n[[{name}]]\n\nEnd", "name", "QUESTION-5.\n\nEnd"),
        ("{question}\n[[{name}]][[ at {address}]]", "address", "QUESTION-5.\nNAME-1"),
    ],
)
def test_missing_value_removes_its_segment_and_blank_line(layout: str, missing: str, text: str) -> None:
    assert complaints.fill(layout, {**VALUES, missing: None}) == text


def test_chinese_keystrokes_lie_inside_the_question() -> None:
    text = "你们的快递晚到三天，包装也破了。请退款！"
    for seed in range(50):
        mashed = complaints.mashed(text, random.Random(seed))
        assert len(mashed) - len(text) >= 2
        assert [char for char in mashed if char in "，。！"] == ["，", "。", "！"]
        assert re.sub("(?<=[，。！])[^，。！]*?(?=包装也破了|请退款|$)", "", mashed) == text
    bodies, layouts = (
        [Document(text=text, kind="body", source="b")],
        [Document(text="[[{name}]]：{question}", kind="email", source="l")],
    )
    rows = complaints.compose(bodies, layouts, 10, ("zh_CN",), Mix(0, 0, 0.5, 0), "", None, 1)
    changed = [row for row in rows if json.loads(row.output)["question"] != text]
    assert len(changed) == sum("noise" in row.slices for row in rows) == 5
    assert all(json.loads(row.output)["question"] in row.input for row in rows)


def test_noise_changes_only_spaces_and_the_end() -> None:
    spaced = 0
    for seed in range(50):
        clean = "First line of it, long enough.\nSecond line, a@b.example"
        noisy = complaints.add_noise(clean, random.Random(seed))
        assert collapsed(noisy).startswith(collapsed(clean) + " ")
        assert MASHED.search(noisy)
        spaced += "  " in noisy
    assert spaced > 20


def test_shares_are_exact_and_drawn_independently() -> None:
    bodies, layouts = (
        [document("Late. Where is it?")],
        [document("[[{name}]] {question}[[ {email}]][[ {address}]][[ {other_email}]]")],
    )
    made = complaints.compose(bodies, layouts, 200, ("en_US", "es_ES"), MIX, "", indent=None, seed=1)
    shares = {name: sum(name in row.slices for row in made) for name in ("missing", "second_email", "noise", "accents")}
    assert shares == {"missing": 40, "second_email": 30, "noise": 60, "accents": 50}
    assert any(len(row.slices) > 1 for row in made)
    assert sum(row.slices == ("clean",) for row in made) > 40


def test_people_have_one_line_addresses_and_emails_of_their_own() -> None:
    crowd = complaints.people(500, "en_US", seed=3)
    assert len({person.email for person in crowd}) == 500
    assert [person for person in crowd if "\n" in person.address] == []
    assert complaints.people(2, "de_DE", seed=3) != complaints.people(2, "en_US", seed=3)


def test_harder_rows_have_no_more_accents() -> None:
    assert MIX.times(2) == Mix(missing=0.4, second_email=0.3, noise=0.6, accents=0.25)


def test_accented_people_have_letters_outside_ascii() -> None:
    crowd = complaints.accented(200, ("es_ES", "fr_FR"), seed=3)
    assert [person for person in crowd if person.name.isascii() or person.address.isascii()] == []
    assert len({person.email for person in crowd}) == 200
    assert 70 < sum(not person.email.isascii() for person in crowd) < 130
    assert [person for person in crowd if not EMAIL.fullmatch(person.email)] == []
    values = [value for person in crowd for value in (person.name, person.address)]
    assert [value for value in values if value != collapsed(value) or " ," in value] == []


def test_other_rows_are_the_same_without_accents() -> None:
    bodies, layouts = [document("Late.")], [document("[[{name}]] {question}[[ {email}]][[ {address}]][[ {other_email}]]")]
    few, none = (
        complaints.compose(bodies, layouts, 9, locales, replace(MIX, accents=0.0), "", indent=None, seed=1)
        for locales in (("en_US", "es_ES"), ("en_US",))
    )
    assert few == none


@pytest.mark.parametrize(
    ("locale", "message"), [("xx_YY", "Faker has no locale xx_YY; choose"), ("en_US", "of 1000 people of en_US, none has")]
)
def test_locale_without_accented_people_is_refused(locale: str, message: str) -> None:
    with pytest.raises(DataError, match=f"data.accents.locales: {message}"):
        complaints.accented(2, ("es_ES", locale), seed=1)


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        ("- id: a\n  kind: letter\n", "each with id, kind and text"),
        ("- id: a\n  kind: letter\n  text: no question\n", "layout a must contain {question} exactly once"),
        ("- id: a\n  kind: letter\n  text: '{question} {question}'\n", "layout a must contain {question} exactly once"),
        ("a: [\n", "not YAML: expected the node content"),
        ("just text\n", "must be a list of layouts"),
        ("", "must be a list of layouts"),
    ],
)
def test_bad_layout_file_is_refused_in_one_line(tmp_path: Path, layouts: str, message: str) -> None:
    for name, content in (("bodies/x.txt", "Late.\n"), ("layouts/x.yaml", layouts)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as refused:
        authored.documents(tmp_path, "x")
    assert message in str(refused.value)
    assert "x.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_body_file_without_bodies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bodies").mkdir()
    (tmp_path / "bodies" / "x.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.txt: empty"):
        authored.documents(tmp_path, "x")
