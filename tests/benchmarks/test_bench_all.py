"""All benchmarks as one command: which are run and how, and the verdict in words for given figures."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from made_up_machine import MACHINE

from benchmarks.whole.bench import MINUTES, BenchAll
from benchmarks.whole.feeds import card_rates, feeds, gpus
from datasets.errors import InputError
from launch.cli.commands import COMMANDS
from launch.plan.cost import ATTENTION_IMAGES_PER_S, CARD, TRANSFER_IMAGES_PER_S


def scaling(**cold: float) -> dict[str, Any]:
    """Ten times what a GPU trains from memory, five times from a disk of 1,000 MB/s, half as float32."""
    row: dict[str, Any] = {
        "name": "raw_pages",
        "images_per_s": 5 * TRANSFER_IMAGES_PER_S,
        "warm_images_per_s": 10 * TRANSFER_IMAGES_PER_S,
        "share_of_disk": 0.8,
        "share_of_reachable": 0.8,
        "read_share": 1.0,
        "disk_mb_per_s": 1000.0,
    }
    float32 = {"name": "raw_float32", "images_per_s": TRANSFER_IMAGES_PER_S / 2}
    environment = {
        "kind": "scaling",
        "command": "cxr bench all --quick",
        **MACHINE,
    }
    return {"environment": environment, "points": [{"rows": [float32]}], "cold": [{**row, **cold}]}


def test_rates_are_those_that_plans_reckon_with() -> None:
    rates = {row["title"]: row["images_per_s"] for row in card_rates()}
    assert rates["DenseNet-121 by transfer learning"] == pytest.approx(TRANSFER_IMAGES_PER_S)
    assert rates["DenseNet-121 by attention transfer"] == pytest.approx(ATTENTION_IMAGES_PER_S)
    assert rates["DenseNet-40 by transfer learning"] == pytest.approx(TRANSFER_IMAGES_PER_S / 0.7)
    assert {row["card"] for row in card_rates()} == {CARD}


def test_gpus_are_measured_rates_over_those_of_a_card() -> None:
    found = feeds(scaling())
    first, second = found["rows"][:2]
    assert [first[name] for name in found["rates"]] == pytest.approx([10.0, 5.0, 0.5])
    assert second["disk"] == pytest.approx(5 * TRANSFER_IMAGES_PER_S / ATTENTION_IMAGES_PER_S)


def test_a_verdict_names_gpus_row_and_limits() -> None:
    assert feeds(scaling(warm_images_per_s=17_471.0, images_per_s=8_736.0))["verdict"] == (
        "This machine's loader can feed 10 GPUs of this kind: 17,471 images/s of pages, which a GPU augments itself, "
        f"over 1,747 images/s of DenseNet-121 by transfer learning on {CARD}; the loader's threads limit. From the "
        "disk, for images that do not fit into memory, it can feed 5 GPUs, with 8,736 images/s; the disk limits, at "
        "1,000 MB/s. With float32 batches that its threads augment it can feed 0.50 of a GPU, with 874 images/s; the "
        "processor limits."
    )


@pytest.mark.parametrize(
    ("cold", "limit"),
    [
        ({}, "the disk limits, at 1,000 MB/s"),
        ({"share_of_disk": 0.7}, "the loader's threads limit, not the disk"),
        (
            {"share_of_disk": 0.7, "share_of_reachable": 0.75},
            "waiting for the disk limits: 70 % of the disk's 1,000 MB/s are reached",
        ),
        ({"read_share": 0.0}, "not measured, since nothing came from a disk: set TMPDIR to a folder on one"),
    ],
)
def test_what_limits_the_disk_is_told(cold: dict[str, float], limit: str) -> None:
    assert feeds(scaling(**cold))["limit"] == limit


def test_gpus_are_counted_whole() -> None:
    assert [gpus(fed) for fed in (0.456, 1.0, 1.99, 2.0, 1234.9)] == [
        "0.46 of a GPU",
        "1 GPU",
        "1 GPU",
        "2 GPUs",
        "1,234 GPUs",
    ]


def test_quick_tells_the_verdict_and_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(BenchAll, "_quick", lambda _: scaling())
    BenchAll(quick=True, out=tmp_path).run()
    written = json.loads((tmp_path / "verdict.json").read_text())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[-1] == written["verdict"] and written["environment"]["kind"] == "verdict"
    assert [path.name for path in tmp_path.iterdir()] == ["verdict.json"]


def test_every_benchmark_is_a_command_whose_figures_go_to_the_folder(tmp_path: Path) -> None:
    options = BenchAll(images=Path("pngs"), out=tmp_path)
    made = {name: options._command(name, tmp_path)[4:] for name in MINUTES}
    assert made["loader"] == ["loader", "--images", "pngs", "--out", str(tmp_path)]
    assert made["first_batch"] == ["first-batch", "--images", "pngs", "--out", str(tmp_path)]
    assert made["grid"] == ["grid", "--out", str(tmp_path)]
    assert BenchAll(images=None, out=tmp_path)._command("loader", tmp_path)[4:6] == ["loader", "--out"]
    assert {f"bench {words[0]}" for words in made.values()} <= set(COMMANDS)


def test_one_that_fails_leaves_the_others_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and the verdict are written all the same."""
    statuses = {"loader": 3, "scaling": 0}

    def command(_: BenchAll, name: str, out: Path) -> list[str]:
        (out / "scaling.json").write_text(json.dumps(scaling()))
        return [sys.executable, "-c", f"import sys; sys.exit({statuses[name]})"]

    monkeypatch.setattr(BenchAll, "_command", command)
    monkeypatch.setattr("benchmarks.whole.bench.write_page", lambda folder: folder / "RESULTS.md")
    with pytest.raises(InputError, match="failed, as is told above: loader; --only loader tries again"):
        BenchAll(out=tmp_path, only=("scaling", "loader")).run()
    assert (tmp_path / "verdict.json").is_file()


def test_ctrl_c_in_a_benchmark_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = [sys.executable, "-c", "import sys; sys.exit(130)"]
    monkeypatch.setattr(BenchAll, "_command", lambda *_: interrupted)
    with pytest.raises(KeyboardInterrupt):
        BenchAll(out=tmp_path, only=("loader", "grid")).run()


def test_ctrl_c_waits_for_the_benchmark_that_ends_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = tmp_path / "ended"
    script = (
        f"import os, signal, time; os.kill({os.getpid()}, signal.SIGINT); time.sleep(0.6); open({str(ended)!r}, 'w')"
    )
    monkeypatch.setattr(BenchAll, "_command", lambda *_: [sys.executable, "-c", script])
    with pytest.raises(KeyboardInterrupt):
        BenchAll(out=tmp_path, only=("grid",)).run()
    assert ended.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--out: name the folder of the page, or give --quick"),
        ({"only": ("loaders",)}, "--only loaders: no such benchmark; known: loader, convert"),
        ({"quick": True, "only": ("loader",)}, "give one of the two"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BenchAll(**options).run()


def test_the_page_shows_the_verdict(tmp_path: Path) -> None:
    from benchmarks.page.write import write_page

    found = feeds(scaling())
    environment = {**scaling()["environment"], "kind": "verdict"}
    (tmp_path / "verdict.json").write_text(json.dumps({"environment": environment, **found}))
    text = write_page(tmp_path).read_text()
    assert found["verdict"] in text
    assert "| DenseNet-121 by transfer learning | 1,747 | as measured | 10.0 | 5.0 | 0.5 |" in text
