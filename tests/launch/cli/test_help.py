"""Every help page at 80 and 40 columns, with examples that parse; errors that lead on; completion in a real bash."""

from __future__ import annotations

import inspect
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

from launch.cli import help_page, main
from launch.cli.commands import COMMANDS


@pytest.fixture(params=COMMANDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def examples(name: str) -> list[str]:
    """The example commands of a command's docstring."""
    text = inspect.cleandoc(COMMANDS[name].load().__doc__ or "")
    return re.findall(r"^    (cxr .*)$", text.partition("For example:\n")[2], flags=re.MULTILINE)


@pytest.mark.parametrize("width", [80, 40])
def test_each_page_fits_the_terminal_and_shows_an_example(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert called(*name.split(), "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > width and not line.startswith("    cxr ")] == []
    assert [line for line in lines if line != line.rstrip()] == []
    assert not re.search(r"\bNone\b|default: \)", "\n".join(lines))
    assert any(line.startswith(f"    cxr {name}") for line in lines)
    assert lines[0].startswith(f"usage: cxr {name} ")


def test_help_is_filled_to_the_width_of_the_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(*name.split(), "--help") == 0
    rows = [re.match(r"  (-\S.*?  +|-.*$| {5,})?(\S.*)$", line) for line in capsys.readouterr().out.splitlines()]
    pairs = [(above, below) for above, below in itertools.pairwise(rows) if above and below and above[1] and below[1]]
    continued = [(above[2], below) for above, below in pairs if below[1].isspace()]
    for above, below in continued:
        assert below.start(2) + len(f"{above} {below[2].split()[0]}") > 80, below[0]


def test_boxes_stay_whole() -> None:
    command = [sys.executable, "-m", "launch.cli", "train", "--help"]
    env = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    page = subprocess.run(command, env=env, capture_output=True, check=True, encoding="utf-8").stdout
    boxes = [line for line in page.splitlines() if line.startswith(("╭", "│", "╰"))]
    assert {len(line) for line in boxes} == {80} and {line[-1] for line in boxes} == {"╮", "│", "╯"}
    assert re.search(r"│ {5,}torchvision's cache or a download, and of other +│\n", page)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("train a.toml --data-dir", "train: Missing value for argument '--data-dir'. Expected 1 values"),
        ("convert chexpert", "convert: missing --root PATH, --out PATH"),
        ("train a.toml extra", "train: Unrecognized options: extra"),
        ("train a.toml --num-workers x", "train: Error parsing --num-workers: expected INT, found 'x'"),
        ("evaluate a --split all", "evaluate: invalid choice 'all' for argument '--split'. Expected one of ("),
    ],
)
def test_refused_arguments_are_one_line(command: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(*command.split()) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1 and error.startswith(f"error: cxr {told}")
    assert error.endswith(f"; see 'cxr {told.partition(':')[0]} --help'\n")


def test_each_example_is_a_command_that_parses(name: str) -> None:
    assert examples(name)
    for example in examples(name):
        program, *arguments = shlex.split(example)
        words = name.split()
        assert [program, *arguments[: len(words)]] == ["cxr", *words]
        command_class = COMMANDS[name].load()
        assert type(tyro.cli(command_class, args=arguments[len(words) :], prog=example)) is command_class


def test_each_option_is_explained(name: str) -> None:
    """Options without a text stand alone on their line, and the next line starts another one."""
    page = help_page(COMMANDS[name].load(), name).split(" options ")[-1].replace("│", " ")
    lines = [line.rstrip() for line in page.splitlines()]
    assert any(line.startswith("  -") for line in lines)
    for before, after in zip(lines, [*lines[1:], ""], strict=True):
        if before.startswith("  -") and "  " not in before.strip():
            assert after.startswith("        "), before


@pytest.mark.parametrize("page", ["", "grid"])
def test_lists_of_commands_fit_a_narrow_terminal(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert called(*page.split(), "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 40] == []
    assert any(line.startswith("  grid submit  ") for line in lines)


def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("grid", "--help") == 0
    out = capsys.readouterr().out
    listed = [line.split("  ")[1] for line in out.splitlines() if line.startswith("  ")]
    assert listed == [name for name in COMMANDS if name.startswith("grid ")]
    assert called("grid") == 2
    assert "which one? grid plan, grid submit, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trian", "train"),
        ("gird submit", "grid submit"),
        ("grid sumbit --dry-run", "grid submit"),
        ("docter --json", "doctor"),
        ("exprot runs/x", "export"),
        ("bench laoder", "bench loader"),
    ],
)
def test_a_mistyped_command_leads_to_the_nearest(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(*typed.split()) == 2
    assert capsys.readouterr().err.endswith(f"did you mean 'cxr {meant}'?\n")


def test_an_unknown_command_of_a_group_lists_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("grid", "frobnicate") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cxr grid frobnicate: no such command; known: grid plan, grid submit, ")
    assert "doctor" not in error


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("inspect x.beton --verfy", "cxr inspect: no such option --verfy; did you mean --verify? see "),
        ("train --precison bf16 run.toml", "cxr train: no such option --precison; did you mean --precision? see "),
        ("train run.toml --no_cudagraphs=1", "no such option --no-cudagraphs; did you mean --no-cuda-graphs? see "),
        ("grid status demo --xyzzy", "cxr grid status: no such option --xyzzy; see 'cxr grid status --help'"),
    ],
)
def test_a_mistyped_option_leads_to_the_nearest(typed: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(*typed.split()) == 2
    assert error in capsys.readouterr().err


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("completion") / "cxr.bash"
    done = subprocess.run(
        [sys.executable, "-m", "launch.cli", "completion", "bash"], capture_output=True, text=True, check=True
    )
    path.write_text(done.stdout)
    yield path


def completed(script: Path, line: str) -> list[str]:
    """What a real bash offers when Tab is pressed at the end of ``line``."""
    words = line.split(" ")
    quoted = " ".join(map(shlex.quote, words))
    code = (
        f"source {script} && COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _shtab_cxr; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_file_names(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").touch()
    assert completed(script, "cxr train con") == completed(script, "cxr train x.toml --out con") == ["config.toml"]


def test_bash_accepts_the_script(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cxr gr", ["grid"]),
        ("cxr grid su", ["submit"]),
        ("cxr grid submit --cl", ["--cluster"]),
        ("cxr convert mim", ["mimic_cxr"]),
        ("cxr convert chexpert --resize s", ["shorter", "squash"]),
        ("cxr export run --no", ["--no-onnx"]),
        ("cxr train --precision b", ["bf16"]),
        ("cxr inspect x.beton --v", ["--verify"]),
        ("cxr convert chexpert --root x", []),
    ],
)
def test_bash_completes_commands_options_and_choices(script: Path, line: str, expected: list[str]) -> None:
    assert completed(script, line) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_get_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("completion", shell) == 0
    out = capsys.readouterr().out
    assert "imagenet" in out and "large" in out and "squash" in out
    if shutil.which(shell) is not None:
        environment = {**os.environ, "HOME": "/nonexistent"}
        subprocess.run([shell, "-n", "-c", out], check=True, env=environment)
