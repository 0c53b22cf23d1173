"""The command ``python -m dormant.benchmarks``: its names, its help, what it refuses."""

import re
import sys

import pytest

from dormant.benchmarks import minatar, processes
from dormant.benchmarks.command import BENCHMARKS, PROGRAM, main, overview
from dormant.benchmarks.parts import PARTS
from dormant.benchmarks.peer import Peer, our_command


def test_the_help_names_everything_and_needs_no_jax():
    code = "import sys; from dormant.benchmarks.command import main; main(['--help']); "
    code += "sys.exit('jax' in sys.modules)"
    ended = processes.run([sys.executable, "-c", code], 60.0)
    assert ended.code == 0
    printed = "\n".join(ended.lines)
    assert all(f"\n{name} " in printed for name in BENCHMARKS)


def test_every_example_of_the_help_is_understood(capsys):
    examples = re.findall(rf"{PROGRAM} (.+)", overview().split("examples:")[1])
    assert len(examples) == 5
    for example in examples:
        assert example.split()[0] in BENCHMARKS
        with pytest.raises(SystemExit) as ended:
            main([*example.replace("~", "").split(), "--help"])
        assert ended.value.code == 0
    assert set(PARTS) | {"all", "population", "fit", "minatar", "gpu"} == set(BENCHMARKS)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["popluation"], "unknown benchmark 'popluation'; did you mean 'population'?"),
        (["population", "--agents", "dqn"], "unknown agent 'dqn'; did you mean 'dqn_rr1'?"),
        (
            ["population", "--precisions", "bf16"],
            "unknown precision 'bf16'; did you mean 'bfloat16'?",
        ),
        (["population", "--axis", "map"], "unknown axis 'map'; did you mean 'vmap'?"),
        (["population", "--min_members", "0"], "--min_members is 0; it must be at least 1"),
        (
            ["minatar", "--members", "15"],
            "--members is 15; it must be 1 or an even number: half recycle",
        ),
        (["recycle", "--rounds", "0"], "--rounds is 0; it must be at least 1"),
        (
            ["gpu", "--out", "x", "--stages", "chek"],
            "unknown stage 'chek'; did you mean 'check'?",
        ),
        (["gpu", "--out", "x", "--seeds", "0"], "--seeds is 0; it must be positive"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(flags, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(flags) == 2
    captured = capsys.readouterr()
    assert captured.err == f"dormant: {text}\n" and not captured.out
    assert not list(tmp_path.iterdir())


def test_abbreviated_flags_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["population", "--max", "1"])
    assert ended.value.code == 2 and "--max" in capsys.readouterr().err


@pytest.mark.slow
def test_our_side_of_a_comparison_answers_with_seconds():
    peer = Peer("ours", our_command("sac_rr1", ""))
    try:
        assert 0 < peer.work(20) < 60
    finally:
        peer.close()


@pytest.mark.parametrize(
    "members, cores, count", [(20, 2, 2), (20, 16, 10), (40, 16, 10), (2, 2, 1), (1, 2, 1)]
)
def test_the_processes_of_the_minatar_benchmark_train_the_same_members(members, cores, count):
    assert minatar.parts(members, cores) == count and members % count == 0
