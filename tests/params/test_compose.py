"""conf/ composes: every shipped choice is valid, and a wrong override is refused before anything is written."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages import params
from stages.commands import compose as command
from stages.errors import DataError
from stages.params import compose
from stages.params.compose import composed
from stages.validate.__main__ import _unread

CONF = compose.ROOT / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml") if path.parent.name != "experiment")

DEFAULTS = {
    f"{group}={option}"
    for choice in params.load(CONF / "config.yaml")["defaults"]
    if isinstance(choice, dict)
    for group, option in choice.items()
}

# What an option needs besides: values that only the user can know, or another option.
WITH = {
    "teacher=openai": ["teacher.model=m"],
    "engine=openai": ["engine.models.base=m", "predict.constrain=none"],
    "teacher=replay": ["teacher.path=calls.jsonl", f"teacher.sha256={'0' * 64}"],
    "model=hub": ["model.repo=owner/model"],
    "model=path": ["model.path=/models/mine"],
    "data=rows": ["data.path=mine.csv", "synthesis=none", "report.headline=stop_rate"],
    "data=rows_named": ["data.path=mine.csv", "synthesis=none", "report.headline=stop_rate"],
    "data=handbook": ["synthesis=self_qa", "report.headline=stop_rate"],
    "data=documents": ["synthesis=self_qa", "data.path=mine", "report.headline=stop_rate"],
    "data=medqa": ["synthesis=none", "report.headline=stop_rate"],
    "data=dialogue": ["synthesis=none", "report.headline=stop_rate"],
    "data=dialogue_mixed": ["synthesis=none", "report.headline=stop_rate"],
    "data=dialogue_worded": ["synthesis=none", "report.headline=stop_rate"],
    "data=samsum": ["synthesis=none", "report.headline=stop_rate"],
    "data=dialogues": ["synthesis=none", "report.headline=stop_rate"],
    "data=complaint_tasks": ["synthesis=none", "report.headline=stop_rate"],
    "data=complaint_months": ["synthesis=none", "report.headline=stop_rate"],
    "data=several_tasks": ["synthesis=none", "report.headline=stop_rate"],
    "data=style": ["synthesis=none", "report.headline=stop_rate"],
    "data=style_silent": ["synthesis=none", "report.headline=stop_rate"],
    "data=mix": ["data=several_tasks", "synthesis=none", "report.headline=stop_rate"],
    "synthesis=self_qa": ["data=handbook", "report.headline=stop_rate"],
    "data=medical": ["synthesis=self_kg", "report.headline=stop_rate"],
    "data=graph": ["synthesis=self_kg", "data.path=mine", "report.headline=stop_rate"],
    "synthesis=self_kg": ["data=medical", "report.headline=stop_rate"],
    "pretrain=documents": ["data=handbook", "synthesis=self_qa", "report.headline=stop_rate"],
    "preference=feedback": ["feedback.path=data/own/feedback.csv"],
    "align=dpo": ["preference=verifier"],
    "align=kto": ["preference=verifier"],
    "align=reward": ["preference=verifier"],
    "adapter=full": ["quantization=none"],
    "adapter=selective": ["quantization=none", "adapter.trainable=['*norm*']"],
    "adapter=llama_pro": ["quantization=none"],
}

# Commands in comments of conf/. An experiment or data set of the user's own, and values left open, are not there to compose.
COMMANDS = sorted(
    {
        command
        for path in CONF.rglob("*.yaml")
        for command in re.findall(r"#.*?(dvc exp run(?: -S (?:'[^'\n]*'|[^\s'])+)+)", path.read_text("utf-8"))
        if not re.search(r"…|\$\(|'conf/|-S (?:experiment|data)=mine", command)
    }
)


def edit(change: dict[str, Any]) -> None:
    """Change top-level sections or values of the params.yaml in the current folder, as a user would by hand."""
    values = params.load()
    for key, value in change.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    YAML(typ="safe", pure=True).dump(values, params.PARAMS)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the current folder one with the params.yaml that conf/ composes."""
    monkeypatch.chdir(tmp_path)
    YAML(typ="safe", pure=True).dump(composed(), params.PARAMS)
    return tmp_path


def test_experiments_and_options_exist() -> None:
    assert {"complaints", "smoke"} <= set(EXPERIMENTS)
    assert set(WITH) <= set(OPTIONS)
    assert len({option.split("=")[0] for option in OPTIONS}) >= 8


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_is_valid_and_has_its_own_name(name: str) -> None:
    checked = params.check(composed(f"experiment={name}"))
    assert checked.name == name


@pytest.mark.parametrize("command", COMMANDS)
def test_command_in_a_comment_of_conf_composes(command: str) -> None:
    params.check(composed(*(word for word in shlex.split(command)[3:] if word != "-S")))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_header_of_an_experiment_names_its_departures(name: str) -> None:
    advice = params.check(composed(f"experiment={name}")).advice()
    header = [line for line in (CONF / "experiment" / f"{name}.yaml").read_text("utf-8").splitlines() if line.startswith("#")]
    assert [line for line in advice if "learning rate" not in " ".join(header)] == []


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_is_valid(option: str) -> None:
    overrides = [] if option in DEFAULTS else [option, *WITH.get(option, [])]
    params.check(composed(*overrides))


def test_offline_dialogues_compose_with_a_real_model() -> None:
    model = params.check(composed("experiment=dialogue_offline", "model=smollm2")).model
    assert model.source == "wheel"


@pytest.mark.parametrize("kind", ["fp4", "int8", "none"])
def test_quantisation_changes_one_parameter(kind: str) -> None:
    nf4, other = (dict(params.flatten(composed(*chosen))) for chosen in ((), (f"quantization={kind}",)))
    assert {key: value for key, value in other.items() if nf4[key] != value} == {"quantization.type": kind}


@pytest.mark.parametrize(
    ("option", "key"), [("model=hub", "model.repo"), ("model=path", "model.path"), ("data=rows", "data.path")]
)
def test_value_that_only_the_user_knows_is_required(option: str, key: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"{key} = ???: must be set")):
        composed(option, "synthesis=none")


def test_configurations_of_the_plans_benchmark_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(compose.ROOT / "bench")
    import plans

    for settings in plans.CONFIGURATIONS.values():
        composed(*settings)


def test_params_yaml_has_exactly_the_keys_of_conf() -> None:
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=compose.ROOT, check=True, capture_output=True)
    committed = params.parse(shown.stdout, "params.yaml")
    chosen = [f"experiment={committed['name']}"] if committed["name"] in EXPERIMENTS else []
    there = composed(*chosen)
    assert {key for key, _ in params.flatten(committed)} == {key for key, _ in params.flatten(there)}


@pytest.mark.parametrize("choice", [option for option in OPTIONS if option.split("=")[0] in ("teacher", "synthesis")])
def test_smoke_runs_with_each_teacher_and_method(choice: str) -> None:
    composed("experiment=smoke", choice, *WITH.get(choice, []))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_sets_no_key_of_a_single_teacher(experiment: str) -> None:
    assert "teacher" not in params.load(CONF / "experiment" / f"{experiment}.yaml")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("lora.r=abc", "lora.r = 'abc'"),
        ("lora.rr=8", "lora.rr: unknown key; did you mean lora.r?"),
        ("+lora.rr=8", "lora.rr = 8: unknown key; did you mean r?"),
        ("+new.part=1", "new = {'part': 1}: unknown key"),
        ("align.packing=true", "align.packing: no such option: alignment compares whole answers"),
        ("+align.packing=true", "align.packing: no such option: alignment compares whole answers"),
        ("lora.r=-1", "lora.r = -1"),
        ("lora.r=null", "lora.r = None"),
        ("lora=nope", "conf/lora/nope.yaml: no such file; choose one of"),
        ("experiment=nope", "conf/experiment/nope.yaml: no such file; choose one of"),
        ("adapter=full", "quantization.type = nf4 with adapter.type = full"),
        ("data=rows", "data.path = ???"),
    ],
)
def test_bad_override_is_refused_and_nothing_is_written(tmp_path: Path, override: str, named: str) -> None:
    output = tmp_path / "params.yaml"
    output.write_text("as it was\n", encoding="utf-8")
    with pytest.raises(DataError) as refused:
        compose.compose([override], output)
    assert named in str(refused.value)
    assert output.read_text(encoding="utf-8") == "as it was\n"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["lora.r=abc"], ["lora.r = 'abc': input should be a valid integer"]),
        (["lora=8"], ["Config group override must be a string"]),
        (["lora.rank=8"], ["lora.rank: unknown key; did you mean lora.r?"]),
        (["lorra.r=8"], ["lorra.r: unknown key; did you mean lora.r?"]),
        (["experimnt=smoke"], ["experimnt: unknown key; did you mean experiment?"]),
        (["teacher={api_key: sk-1}"], ["teacher: takes a name, not values; choose one of local, openai, replay"]),
        (["model=hub", "model.repro=a/b"], ["model.repro: unknown key; did you mean model.", "model.repo = ???: must be set"]),
        (["lora.xyz=1", "zzz=1"], ["lora.xyz: unknown key", "zzz: unknown key"]),
        (["lora.rr=8", "seeed=1", "lora.r=-1"], ["lora.rr: unknown key;", "seeed: unknown key;", "lora.r = -1: input should"]),
    ],
)
def test_refusal_is_one_line_per_mistake(overrides: list[str], lines: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        compose.text(overrides)
    shown = str(refused.value).splitlines()
    assert len(shown) == len(lines)
    assert all(line.startswith(start) for line, start in zip(shown, lines, strict=True)), shown


def test_missing_start_is_one_line_and_nothing_is_written(repository: Path) -> None:
    before = params.PARAMS.read_bytes()
    for how in ("store one with `tunetrail keep NAME`", r"get it from the remote with `dvc pull adapters/mine\.dvc`"):
        with pytest.raises(DataError, match=rf"^train\.start_from = adapters/mine: no such folder; {how}, or name another$"):
            command.compose(["train.start_from=adapters/mine"], check=False)
        (repository / "adapters").mkdir(exist_ok=True)
        (repository / "adapters/mine.dvc").touch()
    assert params.PARAMS.read_bytes() == before


def test_composed_file_does_not_differ_from_conf(repository: Path) -> None:
    assert compose.differences() == []


def test_file_is_compared_with_its_own_experiment(repository: Path) -> None:
    YAML(typ="safe", pure=True).dump(composed("experiment=smoke"), params.PARAMS)
    assert compose.differences() == []


@pytest.mark.parametrize(
    ("change", "message", "promotes"),
    [
        ({"lora": {"r": 12}}, "params.yaml: lora.r = 12, but conf/ composes 8;", r"'conf/lora/\S+\.yaml:r=12'"),
        (
            {"predict": {"batch_size": 7}},
            "params.yaml: predict.batch_size = 7, but conf/ composes 64;",
            r"'conf/config\.yaml:predict\.batch_size=7'",
        ),
        (
            {"synthesis": {"self_instruct": composed()["synthesis"]["self_instruct"] | {"calls": 7}}},
            "params.yaml: synthesis.self_instruct.calls = 7, but conf/ composes 96;",
            r"'conf/synthesis/self_instruct/complaints\.yaml:calls=7'",
        ),
        ({"seed": 7}, "params.yaml: seed = 7, but conf/ composes 42;", r"'conf/config\.yaml:seed=7'"),
        (
            {"format": {"overlap_ngram": None}},
            "params.yaml: format.overlap_ngram = null, but conf/ composes 10;",
            r"'conf/config\.yaml:format\.overlap_ngram=null'",
        ),
    ],
)
def test_changed_value_is_printed_with_its_command(
    repository: Path, change: dict[str, Any], message: str, promotes: str
) -> None:
    edit(change)
    (line,) = compose.differences()
    assert line.startswith(message)
    assert re.search(rf"`dvc exp run -S {promotes}`", line), line
    assert "`tunetrail compose`" in line


def test_added_and_removed_keys_are_listed(repository: Path) -> None:
    edit({"lora": {"r": 12, "extra": 1}, "seed": 7})
    values = params.load()
    del values["train"]["optim"]
    YAML(typ="safe", pure=True).dump(values, params.PARAMS)
    keys = [line.split(" = ")[0].removeprefix("params.yaml: ") for line in compose.differences()]
    assert sorted(keys) == ["lora.extra", "lora.r", "seed", "train.optim"]
    promoting = [line.split(" = ")[0] for line in compose.differences() if "dvc exp run -S" in line]
    assert promoting == ["params.yaml: lora.r", "params.yaml: seed"]  # a key that one side lacks has no value to keep


def test_file_without_a_name_is_compared(repository: Path) -> None:
    values = params.load()
    del values["name"]
    YAML(typ="safe", pure=True).dump(values, params.PARAMS)
    (line,) = compose.differences()
    assert line.startswith("params.yaml: name = nothing")


def test_unread_change_of_lora_is_warned_of(repository: Path) -> None:
    warnings = {}
    for overrides in (["lora.r=12"], ["adapter=ia3"], ["adapter=ia3", "lora.r=12"]):
        YAML(typ="safe", pure=True).dump(composed(*overrides), params.PARAMS)
        warnings[" ".join(overrides)] = _unread(params.check_file())
    unread = "lora.r is not read with adapter.type = ia3: only adapter=lora reads the section lora"
    assert warnings == {"lora.r=12": [], "adapter=ia3": [], "adapter=ia3 lora.r=12": [unread]}


@pytest.mark.parametrize(("key", "home"), [("path", "mine.yaml:path"), ("orders", "rows.yaml:orders")])
def test_value_is_kept_in_the_file_that_sets_it_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, home: str
) -> None:
    shutil.copytree(compose.ROOT / "conf", tmp_path / "conf")
    monkeypatch.setattr(compose, "ROOT", tmp_path)
    (compose.ROOT / "conf/data/mine.yaml").write_text("defaults: [rows]\npath: a.csv\nvalid: 0.2\n")
    there = params.parse(
        compose.text(["data=mine", "synthesis=none", "name=complaints", "report.headline=token_f1"]).encode(), "conf/"
    )
    assert compose._home(f"data.{key}", dict(params.flatten(there))) == f"conf/data/{home}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("data: {path: a?}", "2: not YAML: expected ',' or '}'"),
        ("data:\n\tpath: x", "3: not YAML: found character '\\t'"),
        ("name: @mine", "2: not YAML: found character '@'"),
        ("name: mine\nname: yours", "3: not YAML: found duplicate key name"),
    ],
    ids=["a question mark in braces", "a tab", "a sign at the beginning", "a key twice"],
)
def test_file_of_conf_that_is_not_yaml_is_one_line(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "hydra_plugins").symlink_to(compose.ROOT / "hydra_plugins")
    (tmp_path / "conf/experiment/mine.yaml").write_text(f"# @package _global_\n{line}\n", encoding="utf-8")
    monkeypatch.setattr(compose, "ROOT", tmp_path)
    with pytest.raises(DataError) as refusal:
        compose.text(["experiment=mine"])
    assert str(refusal.value).startswith(f"conf/experiment/mine.yaml:{expected}")
    assert "\n" not in str(refusal.value)
