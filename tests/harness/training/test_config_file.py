"""load_config: TOML and JSON, presets, runs given by their folder, and refusals that name file and key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from datasets.errors import InputError
from datasets.files import write_json
from harness.config import (
    AttentionTransfer,
    DataConfig,
    RunConfig,
    Schedule,
    TransferLearning,
    Weights,
    chexclusion,
    to_dict,
)
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.training.config_file import load_config

TEACHER = RunConfig(data=DataConfig(dataset="mimic_cxr"), schedule=chexclusion())


def toml(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def run_folder(path: Path, config: RunConfig) -> Path:
    document = {"schema": 1, "run_id": config.run_id, "name": config.name, "config": to_dict(config)}
    write_json(path / "config.json", document)
    return path


def test_a_toml_sets_the_run_and_its_runtime(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        """
        seed = 3
        [data]
        dataset = "chexpert"
        subset = "1k"
        [network]
        name = "densenet40"
        [init]
        kind = "none"
        [schedule]
        epochs = 2
        [runtime]
        beton = "small/chexpert.beton"
        precision = "bf16"
        num_workers = 1
        """,
    )
    config, overrides = load_config(path)
    assert config == RunConfig(
        data=DataConfig(dataset="chexpert", subset="1k"),
        network=dataclasses.replace(config.network, name="densenet40"),
        init=Weights(kind="none"),
        objective=TransferLearning(),
        schedule=Schedule(epochs=2),
        seed=3,
    )
    assert overrides == {"beton": Path("small/chexpert.beton"), "precision": "bf16", "num_workers": 1}
    assert RuntimeConfig(**overrides).beton_for("chexpert") == Path("small/chexpert.beton")


def test_runtime_does_not_enter_the_identity(tmp_path: Path) -> None:
    plain = load_config(toml(tmp_path, '[data]\ndataset = "chexpert"'))[0]
    tuned = load_config(toml(tmp_path, '[data]\ndataset = "chexpert"\n[runtime]\nprecision = "fp16"'))[0]
    assert plain.run_id == tuned.run_id


def test_a_preset_is_a_start_that_other_keys_change(tmp_path: Path) -> None:
    text = '[data]\ndataset = "mimic_cxr"\n[schedule]\npreset = "chexclusion"\nepochs = 4\nlearning_rate = 1e-3'
    assert load_config(toml(tmp_path, text))[0].schedule == dataclasses.replace(
        chexclusion(), epochs=4, learning_rate=1e-3
    )
    text = '[data]\ndataset = "mimic_cxr"\n[schedule]\npreset = "paper"'
    assert load_config(toml(tmp_path, text))[0].schedule == Schedule()


def test_a_run_given_by_its_folder_is_embedded_and_found_again(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "elsewhere" / "my_teacher", TEACHER)
    text = f"""
        [data]
        dataset = "chexpert"
        [init]
        kind = "run"
        run = "{folder}"
        [objective]
        method = "attention_transfer"
        beta = 10.0
        [objective.teacher]
        kind = "run"
        run = "{folder}"
        """
    config, overrides = load_config(toml(tmp_path, text))
    assert config.init == Weights(kind="run", run=TEACHER)
    assert config.objective == AttentionTransfer(teacher=Weights(kind="run", run=TEACHER), beta=10.0)
    runtime = RuntimeConfig(**overrides)
    assert runtime.folder_of(TEACHER) == RunFolder(folder)
    assert runtime.folder_of(config) == RunFolder(Path("runs") / config.run_id)


def test_the_config_of_a_run_folder_is_read_as_it_is(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / TEACHER.run_id, TEACHER)
    for path in (folder, folder / "config.json"):
        config, overrides = load_config(path)
        assert config == TEACHER
        assert RuntimeConfig(**overrides).folder_of(config).path == folder
    config, overrides = load_config(run_folder(tmp_path / "renamed", TEACHER))
    assert RuntimeConfig(**overrides).folder_of(config).path == tmp_path / "renamed"


def test_a_plain_json_config_equals_the_toml(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, to_dict(TEACHER))
    assert load_config(path) == (TEACHER, {})


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = toml(tmp_path, '\ufeff[data]\ndataset = "chexpert"')
    assert load_config(path)[0].data.dataset == "chexpert"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", '{"seed": 1, "data": {"dataset": "chexpert"}, "seed": 2}', "the key 'seed' is given twice"),
        ("run.json", "[" * 5000 + "]" * 5000, "not a JSON file (nested too deep)"),
        ("run.json", '{"seed": ' + "9" * 5000 + "}", "not a JSON file (a number of 5000 digits)"),
        ("run.toml", "seed = " + "[" * 5000 + "]" * 5000, "not a TOML file (nested too deep)"),
        ("run.toml", "seed = " + "9" * 5000, "not a TOML file (Exceeds the limit"),
        ("run.toml", '[data]\ndataset = "chexpert"\n[schedule]\npreset = []', "preset: [] is unknown"),
        ("run.toml", '[data]\ndataset = "chexpert"\n[runtime]\nnum_workers = true', "num_workers: Input should be"),
        ("run.toml", '[data]\ndataset = "chexpert"\n[runtime]\nnum_threads = 100000', "must be at most 1,024"),
        ("run.toml", '[data]\ndataset = "chexpert"\n[runtime]\nnum_workers = 0', "must be at least 1"),
    ],
)
def test_absurd_files_are_refused_in_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / name)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_an_edited_run_config_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / TEACHER.run_id
    document = {"schema": 1, "run_id": TEACHER.run_id, "name": "x", "config": {**to_dict(TEACHER), "seed": 9}}
    write_json(folder / "config.json", document)
    with pytest.raises(InputError, match="the file was edited"):
        load_config(folder)
    write_json(folder / "config.json", {**document, "schema": 0})
    with pytest.raises(InputError, match="schema 0, this version has 1"):
        load_config(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[data]\ndataset = "chexpert"\nsubst = "1k"',
            "data.subst: unknown key; did you mean subset",
        ),
        ('sed = 1\n[data]\ndataset = "chexpert"', "sed: unknown key; did you mean seed"),
        (
            '[data]\ndataset = "chexpert"\n[runtime]\nprecison = "fp32"',
            "runtime.precison: unknown key; known keys: run",
        ),
        ('[data]\ndataset = "chexpert"\n[runtime]\nprecision = "fp8"', "runtime.precision: .*found 'fp8'"),
        ('[data]\ndataset = "chexpert"\n[runtime]\nrun_folders = {}', "runtime.run_folders: unknown key"),
        (
            '[data]\ndataset = "chexpert"\n[schedule]\npreset = "papr"',
            "schedule.preset: 'papr' is unknown; known: paper",
        ),
        ('[data]\ndataset = "chexpert"\n[init]\nkind = "run"\nrun = "gone"', "run = 'gone': no run folder there"),
        ("data =", "not a TOML file"),
    ],
)
def test_refusals_name_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "absent.json")
    with pytest.raises(InputError, match=r"a config is a \.toml or \.json file"):
        load_config(tmp_path / "run.yaml")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match="expected a table of keys, found list"):
        load_config(tmp_path / "list.json")
