"""Mistakes in params.yaml: all are reported at once, each with its key, its value and what is expected."""

import time
from pathlib import Path
from typing import Any

import pytest

from stages import errors, params, stage
from stages.errors import DataError
from stages.params import reading
from tests.fixtures.schema import COLUMNS, COMPOSED, GONE, HUB, OPENAI, ROWS, WHEEL, mistakes, with_changes


def test_committed_params_are_valid() -> None:
    assert params.check(COMPOSED).name == COMPOSED["name"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"lora.rr": 8}, "lora.rr = 8: unknown key; did you mean r?"),
        ({"lora.r": "abc"}, "lora.r = 'abc': input should be a valid integer"),
        ({"lora.r": -1}, "lora.r = -1: input should be greater than 0"),
        ({"synthesis.self_instruct.requests": 0}, "synthesis.self_instruct.requests = 0: input should be greater than 0"),
        ({"lora.r": True}, "lora.r = True: input should be a valid integer"),
        ({"runtime.micro_batch_size": 0}, "runtime.micro_batch_size: 0 should be an integer greater than 0, or auto"),
        ({"runtime.micro_batch_size": "all"}, "runtime.micro_batch_size: 'all' should be an integer greater than 0, or auto"),
        ({"lora": None}, "lora = None: input should be a valid dictionary or instance of Lora"),
        ({"lroa": {"r": 8}}, "lroa = {'r': 8}: unknown key; did you mean lora?"),
        ({"train.learnin_rate": 1e-3}, "train.learnin_rate = 0.001: unknown key; did you mean learning_rate?"),
        ({"train.learning_rate": GONE}, "train.learning_rate: missing"),
        ({"seed": GONE}, "seed: missing"),
        ({"lora": GONE}, "lora: missing"),
        *(
            (
                {key: f"{text}://me:s3cret@example.org/a"},
                f"{key}: holds an address with a user, a password or a key, which git would keep",
            )
            for key, text in (
                ("data.path", "https"),
                ("retention.path", "s3"),
                ("data.system", "See http"),
                ("model.license", "ftp"),
            )
        ),
        ({"name": "???"}, "name = ???: must be set"),
        ({"lora.r": "???"}, "lora.r = ???: must be set"),
        (
            {"quantization.type": "nf5"},
            "quantization.type = 'nf5': input should be 'nf4', 'fp4', 'int8' or 'none'; did you mean nf4?",
        ),
        ({"quantization.type": "gptq"}, "quantization.type = 'gptq': input should be 'nf4', 'fp4', 'int8' or 'none'"),
        ({"name": "../elsewhere"}, "name = '../elsewhere': string should match pattern"),
        ({"seeds": []}, "seeds = []: list should have at least 1 item"),
        ({"seeds": [1, "two"]}, "seeds.1 = 'two': input should be a valid integer"),
        ({"predict.shots": [-1]}, "predict.shots.0 = -1: input should be greater than or equal to 0"),
        ({"model": {**HUB, "repo": "???"}}, "model.repo = ???: must be set"),
        ({"model": HUB | {"reop": "x/y"}}, "model.reop = 'x/y': unknown key; did you mean repo?"),
        ({"model": WHEEL | {"pats": "m==1"}}, "model.pats = 'm==1': unknown key; did you mean parts?"),
        ({"model": WHEEL | {"sha256": "abc"}}, "model.sha256 = 'abc': string should match pattern"),
        (
            {"data": ROWS | {"columns": COLUMNS | {"outptu": "a"}}},
            "data.columns.outptu = 'a': unknown key; did you mean output",
        ),
        (
            {"data": ROWS | {"columns": {"input": "q", "output": False}}},
            "data.columns.output = False: input should be a valid string; YAML",
        ),
        ({"data": ROWS | {"vaild": 0.1}}, "data.vaild = 0.1: unknown key; did you mean valid?"),
        (
            {"teacher": OPENAI | {"batch_size": 4}},
            "teacher.batch_size = 4: belongs to teacher.kind = local, not to openai; choose",
        ),
        (
            {"teacher.base_url": "https://example.org"},
            "teacher.base_url = '***': belongs to teacher.kind = openai, not to local",
        ),
        ({"model": HUB | {"sha256": "a"}}, "model.sha256 = 'a': belongs to model.source = wheel, not to hub; choose"),
        (
            {"synthesis.self_instruct.target": 9},
            "synthesis.self_instruct.target = 9: belongs to synthesis.self_instruct.form = gen",
        ),
        ({"data": ROWS | {"locale": "en_US"}}, "data.locale = 'en_US': belongs to data.kind = complaints, not to rows; choose"),
        ({"adapter.init_r": 4}, "adapter.init_r = 4: belongs to adapter.type = adalora, not to lora; choose"),
        (
            {"data": ROWS | {"decline": "x"}},
            "data.decline = 'x': belongs to data.kind = documents or graph, not to rows; choose",
        ),
    ],
)
def test_mistake_is_one_line_with_key_value_and_expectation(changes: dict[str, Any], line: str) -> None:
    (found,) = mistakes({"synthesis.methods": ["none"]} | changes)
    assert found.startswith(line)


def test_hub_model_without_repo_names_the_missing_key() -> None:
    assert mistakes({"model": {key: value for key, value in HUB.items() if key != "repo"}}) == ["model.repo: missing"]


def test_keys_of_a_mixture_are_named_where_they_are() -> None:
    """`mix` is a kind of data and a key of it."""
    sets = {name: ROWS | {"path": f"mine/{name}", "splits": {"train": "a", "test": "b"}} for name in ("one", "two")}
    data = {"kind": "mix", "path": "mine", "system": "", "sets": sets, "mix": {"rows": None, "weights": None}}
    found = mistakes({"data": data})
    assert found == ["data.sets.one.splits.valid: missing", "data.sets.two.splits.valid: missing", "data.mix.protect: missing"]


def test_rows_are_protected_by_ewc_alone() -> None:
    sets = {name: ROWS | {"path": f"mine/{name}"} for name in ("one", "two")}
    mix = {"rows": None, "weights": None, "protect": {"one": 9}}
    changes = {"data": {"kind": "mix", "path": "mine", "system": "", "sets": sets, "mix": mix}, "synthesis.methods": ["none"]}
    (found,) = mistakes(changes)
    assert found.startswith("data.mix.protect with replay.ewc_lambda = 0: only EWC protects rows; set replay.ewc_lambda")
    params.check(with_changes(changes | {"replay.ewc_lambda": 1.0}))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"model": WHEEL | {"source": "weel"}}, ["model.source = 'weel'", "wheel", "hub", "did you mean wheel?"]),
        ({"model": {key: value for key, value in WHEEL.items() if key != "source"}}, ["model.source: missing"]),
        ({"model": WHEEL | {"source": "???"}}, ["model.source = ???: must be set"]),
        ({"data": ROWS | {"kind": "row"}}, ["data.kind = 'row'", "complaints", "did you mean rows?"]),
    ],
)
def test_wrong_kind_of_section_names_the_discriminator(changes: dict[str, Any], parts: list[str]) -> None:
    (found,) = mistakes(changes)
    assert found.startswith(parts[0])
    assert [part for part in parts if part not in found] == []


def test_unset_value_in_a_list_is_named() -> None:
    assert any("seeds.0" in line and "???" in line for line in mistakes({"seeds": ["???"]}))


@pytest.mark.parametrize(("value", "end"), [(3, "; write [3]"), ("x", "; write ['x']"), ({"a": 1}, "valid list")])
def test_value_where_a_list_belongs_is_shown_as_one(value: Any, end: str) -> None:
    (line,) = mistakes({"predict.shots": value})
    assert line.startswith("predict.shots = ") and line.endswith(end)


def test_all_mistakes_are_reported_at_once() -> None:
    found = mistakes(
        {
            "lora.rr": 8,
            "lora.r": "abc",
            "lora.alpha": -1,
            "lroa": {},
            "seed": GONE,
            "name": "???",
            "quantization.type": "nf5",
            "predict.split": "tset",
        }
    )
    keys = ["lora.alpha", "lora.r", "lora.rr", "lroa", "name", "predict.split", "quantization.type", "seed"]
    assert sorted(line.split(" = ")[0].split(":")[0] for line in found) == keys


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: 42\nlora: [8\nname: x\n", r"p\.yaml:3: not YAML"),
        (b"seed: 42\n\tname: x\n", r"p\.yaml:2: not YAML"),
        (b"seed: 42\nseed: 43\n", r'p\.yaml:2: not YAML: found duplicate key "seed"'),
        (b"x: !!python/object/apply:os.getcwd []\n", r"p\.yaml:1: not YAML"),
        (b"- 1\n- 2\n", r"p\.yaml: must hold sections"),
        (b"", r"p\.yaml: must hold sections"),
        ("name: Beschwerdeführer\n".encode("latin-1"), r"p\.yaml.*UTF-8"),
        (None, r"p\.yaml: no such file"),
    ],
)
def test_file_that_is_not_a_mapping_is_refused_with_its_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "p.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        params.load(path)


def test_file_without_sections_is_reported_as_perhaps_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params.PARAMS.write_text("seed: x\n", encoding="utf-8")
    with pytest.raises(DataError) as raised:
        params.check_file()
    first, *others = str(raised.value).splitlines()
    assert first.startswith(
        "params.yaml: lacks 23 of 24 sections (schema, name, seeds, …); it may have been cut short; `git che"
    )
    assert "params.yaml: lora: missing" in others and any(line.startswith("params.yaml: seed = 'x': ") for line in others)


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("rate: 1e-3\nbig: 1.0e+3\nno: no\n", encoding="utf-8")
    assert params.load(path) == {"rate": 0.001, "big": 1000.0, "no": "no"}


def test_stage_gets_only_the_sections_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(COMPOSED)
    got = params.read("seed", "lora", "synthesis.self_instruct")
    assert vars(got).keys() == {"seed", "lora", "synthesis"} and vars(got.synthesis).keys() == {"self_instruct"}
    assert (got.seed, got.lora.r) == (COMPOSED["seed"], COMPOSED["lora"]["r"])
    with pytest.raises(AttributeError):
        got.train  # noqa: B018
    with pytest.raises(AttributeError):
        got.synthesis.budget  # noqa: B018


def test_stage_stops_at_a_mistake_in_any_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(with_changes({"lora.r": "abc", "lora.rr": 8}))
    with pytest.raises(SystemExit) as stopped:
        stage.run(lambda: print(params.read("seed")))
    assert str(stopped.value).splitlines() == [
        "error: params.yaml: lora.r = 'abc': input should be a valid integer",
        "error: params.yaml: lora.rr = 8: unknown key; did you mean r?",
    ]
    assert capsys.readouterr().out == ""


def save(values: dict[str, Any]) -> None:
    from ruamel.yaml import YAML

    YAML(typ="safe", pure=True).dump(values, params.PARAMS)


NAMES = ("api_key", "apikey", "key", "access_key", "private_key", "secret_key", "client-secret", "token", "tokens")
NAMES += ("password", "passwd", "pwd", "auth", "proxy_auth", "Authorization", "cookie", "key2", "api_key_1", "accessKeyId")
NAMES += ("private_key_pem", "secret_access", "client_secret_value", "dsn", "signature", "extra_headers", "tokenValue")
NAMES += ("apiKeyV2", "key_b64", "token_base64", "webhook_url", "connection_string")
KEY_FORMS = ("sk-proj-", "sk-ant-api03-", "sk-or-v1-", "AIzaSy", "github_pat_", "ghp_", "glpat-", "xoxb-", "hf_", "AKIA")
VALUES = (["s3cret"], {"value": "s3cret"}, [{"value": ["s3cret"]}], 12345, 12345.5)


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "https://me:s3cret@example.org/v1"},
        {"base_url": "https://s3cret@example.org/v1"},
        {"base_url": "https://example.org/v1?api_key=s3cret"},
        {"base_url": "https://example.org/v1#s3cret"},
        {"base_url": "ftp://me:s3cret@example.org"},
        {"base_url": "me:s3cret@example.org/v1"},
        {"base_url": "htp://me:x@s3cret@example.org/v1"},
        {"base_url": "http://me:x/s3cret@example.org/v1"},
        {"base_url": "https:///me:s3cret@example.org"},
        {"base_url": "https:///s3cret"},
        {"base_url": "http://example.org:s3cret/v1"},
        {"base_url": "http://example.org:99999/s3cret"},
        {"base_url": "http://[s3cret@::1]/v1"},
        {"base_url": "http://[s3cret]/v1"},
        {"base_url": "http://example.org/v1;key=s3cret"},
        {"base_url": "http://example.org\\@s3cret/v1"},
        {"base_url": "http://example.org/v1 s3cret"},
        {"base_url": "HTTP://me:s3cret@example.org"},
        {"base_url": "http://me%3As3cret%40example.org/v1"},
        {"base_url": "http://example.org/%3Fapi_key=s3cret"},
        {"base_url": "http://example.org/v1&api_key=s3cret"},
        {"base_url": "http://example.org/v1/key=s3cret"},
        {"base_url": "http://me%253As3cret%2540example.org/v1"},
        {"base_url": "http://example.org/v1/eyJhbGciOiJub25lIn0.s3cret"},
        {"base_url": "http://example.org/v1/sk-s3cret0123456789"},
        *({"base_url": f"http://example.org/{form}s3cret0123456789/v1"} for form in KEY_FORMS),
        {"base_url": ["http://me:s3cret@example.org"]},
        {"model": ["http://me:a@s3cret@example.org"]},
        {"model": {"a": "me:s3cret@example.org"}},
        {"model": [{"header": {"X-Api-Key": "s3cret", "Authorization": "Bearer s3cret"}}]},
        {"api_key_env": "s3cret-0123"},
        {"auth": {"token": "s3cret"}},
        {"headers": {"Authorization": "Bearer s3cret", "more": [{"Cookie": "s3cret"}]}},
        *({name: "s3cret"} for name in NAMES),
        *({name: value} for name in ("api_key", "token", "password") for value in VALUES),
    ],
    ids=str,
)
def test_secret_in_a_parameter_is_refused_and_not_shown(change: dict[str, Any]) -> None:
    found = "\n".join(mistakes({"teacher": OPENAI | change}))
    assert found.startswith(f"teacher.{next(iter(change))}")
    assert "s3cret" not in found and "12345" not in found


@pytest.mark.parametrize(
    "path", ["v1", "openai/deployments/gpt-4o-mini-2024-07-18", "sk-learn/v1", "hf-inference/models/a_b-1"]
)
def test_address_with_usual_names_is_no_secret(path: str) -> None:
    params.check(with_changes({"teacher": OPENAI | {"base_url": f"https://example.org/{path}"}}))


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://example.org/v1/chat/completions", "/chat/completions"),
        ("https://example.org/v1/Chat/Completions/", "/Chat/Completions/"),
        ("https://example.org/v1/completions", "/completions"),
        ("https://example.org/v1/responses", "/responses"),
        ("https://example.org/v1/messages", "/messages"),
        ("https://example.org/v1/embeddings", "/embeddings"),
        ("https://example.org/v1/models", "/models"),
        ("https://example.org/v1beta/models", "/models"),
    ],
)
def test_address_of_a_single_request_is_refused(address: str, path: str) -> None:
    (found,) = mistakes({"teacher": OPENAI | {"base_url": address}})
    assert f": ends in {path}, the path of a request, which the client adds; write the address without it" in found


@pytest.mark.parametrize(
    "address",
    ["https://example.org", "https://example.org/models", "https://example.org/responses/v1", "https://example.org/v1/"],
)
def test_address_of_an_api_is_taken(address: str) -> None:
    params.check(with_changes({"teacher": OPENAI | {"base_url": address}}))


@pytest.mark.parametrize(
    "address",
    [
        "https://me:s3cret@example.org/x",
        "https://s3cret@example.org/x",
        "https://me:p/s3cret@example.org",
        "https://example.org/x?token=s3cret",
        "https://example.org/x?a=1&api_key=s3cret",
        "see https://example.org/x?X-Amz-Signature=s3cret",
        "https://me%3As3cret%40example.org/x",
        "https://me%253As3cret%2540example.org/x",
        "https://example.org/x#token=s3cret",
        "https://example.org/x;token=s3cret",
        "https://example.org/x?auth=s3cret",
        "https://example.org/back?code=s3cret",
        "https://example.org/x?a=1&amp;pwd=s3cret",
        "me:s3cret@h/x",
        "me%3As3cret%40h/x",
    ],
)
def test_secret_in_any_address_is_refused(address: str) -> None:
    (found,) = mistakes({"model": HUB | {"license": address}})
    assert found == "model.license: holds an address with a user, a password or a key, which git would keep; leave them out"


@pytest.mark.parametrize("key", ["wordings", "also"])
def test_secret_in_a_list_of_sections_is_refused(key: str) -> None:
    section = {"text": "{{ x }} https://me:s3cret@h/x", "system": "https://me:s3cret@h/x", "output": "x", "share": 1}
    found = mistakes({"data": ROWS | {key: [section]}})
    assert any(line.startswith(f"data.{key}: holds an address with a user, a password or a key") for line in found)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org:8080/@user",
        "https://example.org/x?page=2",
        "https://example.org/x?barcode=2&author=me",
        "https://example.org/%C3%A9t%C3%A9",
        "https://example.org/@me/x",
        "me@example.org",
        "mailto:me@example.org",
        "C:\\models@2",
        "C:/models@2",
        "git@example.org:me/x",
        "Write to me:you@example.org if unsure",
    ],
)
def test_ordinary_address_is_accepted(address: str) -> None:
    assert params.check(with_changes({"model": HUB | {"license": address}})).model.license == address


@pytest.mark.parametrize("name", ["max_new_tokens", "author", "authored", "keywords", "monk", "tokenizer", "keyboard"])
def test_value_of_an_ordinary_name_is_shown(name: str) -> None:
    assert errors.shown(f"section.{name}", 12345) == "12345"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("no answer of https://me:s3cret@host/v1: 401", "no answer of https://***@host/v1: 401"),
        ("htp://me:a@s3cret@host", "htp://***@host"),
        ("http://me:a/s3cret@host/v1", "http://***@host/v1"),
        ("me:s3cret@host", "***@host"),
        ("mail me@host: no answer", "mail me@host: no answer"),
        ("https://host/v1", "https://host/v1"),
    ],
)
def test_password_in_the_address_of_an_error_is_hidden(text: str, seen: str) -> None:
    assert errors.reason(OSError(text)) == seen


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"evaluate.extra": ["meteor"], "evaluate.allow_code": True},
            "evaluate.extra.0 = 'meteor': string should match pattern",
        ),
        (
            {"evaluate.extra": ["meteor@main"], "evaluate.allow_code": True},
            "evaluate.extra.0 = 'meteor@main': string should match",
        ),
        ({"evaluate.extra": ["../x@" + "0" * 40], "evaluate.allow_code": True}, "evaluate.extra.0 = '../x@0"),
        ({"evaluate.extra": ["meteor@" + "0" * 40]}, "evaluate: extra = ['meteor@0"),
    ],
    ids=["no commit", "a branch", "a path", "no permission"],
)
def test_code_of_the_hub_needs_a_commit_and_a_permission(changes: dict[str, Any], line: str) -> None:
    (found,) = mistakes(changes)
    assert found.startswith(line)


def test_unknown_key_in_a_list_of_a_section_is_named() -> None:
    assert mistakes({"synthesis.methods": ["none"], "model.parts": [{"packkage": "a==1", "file": "f"}]}) == [
        "model.parts.0.package: missing",
        "model.parts.0.packkage = 'a==1': unknown key; did you mean package?",
    ]


@pytest.mark.parametrize("key", ["name", "model.name"])
@pytest.mark.parametrize("name", ["../x", "x/../y", "/x", "a/b", "..", ".x", "a\\b", "~x", "x\n", "x\0", "\u2025/x", ""])
def test_name_that_could_lead_to_another_folder_is_refused(key: str, name: str) -> None:
    (line,) = mistakes({key: name})
    assert line.startswith(f"{key} = ") and "string should match pattern" in line


@pytest.mark.parametrize("opening", ["[", "{", "[a, ", '["", ', "{a: [", "[]["])
def test_deep_levels_are_refused_before_they_are_read(opening: str) -> None:
    started = time.process_time()
    with pytest.raises(
        DataError, match=r"^params.yaml: nested too deeply, more than 100 lists or objects in each other; write"
    ):
        reading.parse(f"a: {opening * 6000}".encode(), "params.yaml")
    assert time.process_time() - started < 0.5


def test_many_short_lists_are_read() -> None:
    assert reading.parse(f"a: [{'[], ' * 5000}]".encode(), "params.yaml") == {"a": [[]] * 5000}
