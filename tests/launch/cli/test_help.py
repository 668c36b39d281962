"""Every help page at 80 columns, with examples that parse; errors that lead on; completion in a real bash."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

from launch.cli import COMMANDS, main
from launch.cli.completion import all_options, bash_script, fish_script
from launch.cli.help import describe, help_page


def class_of(name: str) -> type:
    entry = COMMANDS[name]
    found: type = getattr(importlib.import_module(entry.module), entry.name)
    return found


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


def test_each_page_fits_80_columns_and_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(*name.split(), "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []
    assert any(line.startswith(f"  cxr {name}") for line in lines)
    assert lines[0].startswith(f"usage: cxr {name} ")
    text = " ".join(" ".join(lines).split())
    assert "{None" not in text
    assert "(default: None)" not in text
    assert "(default: )" not in text


def test_each_example_is_a_command_that_parses(name: str) -> None:
    examples = describe(class_of(name))[1]
    assert examples
    for example in examples:
        program, *arguments = shlex.split(example)
        words = name.split()
        assert [program, *arguments[: len(words)]] == ["cxr", *words]
        parsed = tyro.cli(class_of(name), args=arguments[len(words) :], prog=example)
        assert type(parsed) is class_of(name)


def test_each_option_is_explained(name: str) -> None:
    """Options without a text stand alone on their line, and the next line starts another one."""
    page = help_page(class_of(name), name).split("options\n")[-1]
    options = [line for line in page.splitlines() if line.startswith("  -")]
    assert options
    for before, after in zip(page.splitlines(), [*page.splitlines()[1:], ""], strict=True):
        if before.startswith("  -") and "  " not in before.strip():
            assert after.startswith("        "), before


def test_lines_of_a_docstring_are_joined() -> None:
    page = help_page(class_of("convert"), "convert")
    assert "within one gray level nearly everywhere" in " ".join(page.split())
    assert "within one\n" not in page.replace("within one gray", "")


def test_a_long_example_is_broken_before_an_option(tmp_path: Path) -> None:
    class Made:
        """What it does.

        Example: cxr made --first aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa --second
        bbbbbbbbbbbbbbbbbbbbbbbbbbbbb --third c
        """

    assert describe(Made)[0] == ["What it does."]
    from launch.cli.help import _shell_lines

    shown = _shell_lines(describe(Made)[1][0], 80)
    assert [len(line) <= 80 for line in shown.splitlines()] == [True, True]
    done = subprocess.run(
        ["bash", "-c", f'cxr() {{ echo "$@"; }}\n{shown}'], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == describe(Made)[1][0].split()[1:]


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


def test_a_mistyped_option_leads_to_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("inspect", "x.beton", "--verfy") == 2
    assert "--verify" in capsys.readouterr().err


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
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _cxr; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


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


def test_every_offered_option_is_one_that_the_command_knows() -> None:
    for name, options in all_options().items():
        page = help_page(class_of(name), name)
        assert [option.name for option in options if option.name not in page] == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("completion", shell) == 0
    out = capsys.readouterr().out
    options = all_options()
    assert (bash_script(options) in out) if shell == "zsh" else (out == fish_script(options))
    if shutil.which(shell) is not None:
        environment = {**os.environ, "HOME": "/nonexistent"}
        subprocess.run([shell, "-n", "-c", out], check=True, env=environment)
