"""Figure 3's study: what the targets are, the population, and exact resume."""

import jax
import numpy as np
import pytest

from dormant import results
from dormant.studies import run
from dormant.studies.images import digits
from dormant.studies.supervised import ARMS, FIXED, RENAMED, SHUFFLED, supervised, targets_at
from dormant.training import members
from dormant.types import DormantError

SETTINGS = {
    **{"epochs": 4, "period": 2, "seeds": 2, "batch_size": 16},
    **{"learning_rate": 0.05, "momentum": 0.9, "width": 0.25},
}


def study(arm, **changed):
    return supervised(digits(64), arm, {**SETTINGS, **changed}, "digits/study")


def rows_of(folder):
    return results.read_measurements(str(folder / results.METRICS_FILE))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two arms, never interrupted."""
    folders = {}
    for arm in (FIXED, SHUFFLED):
        folders[arm] = tmp_path_factory.mktemp("whole")
        run.execute(study(arm), str(folders[arm]))
    return folders


def test_targets():
    key, labels = jax.random.key(3), np.arange(40) % 10
    first, second = (
        {arm: np.asarray(targets_at(arm, key, labels, changes)) for arm in ARMS}
        for changes in (1, 2)
    )
    for arm in ARMS:
        np.testing.assert_array_equal(targets_at(arm, key, labels, 0), labels)
    np.testing.assert_array_equal(first[FIXED], labels)
    assert sorted(first[SHUFFLED]) == sorted(labels) and (first[SHUFFLED] != labels).any()
    assert len(set(zip(labels, first[SHUFFLED]))) > 10  # no renaming
    assert len(set(zip(labels, first[RENAMED]))) == 10 == len(set(first[RENAMED]))
    for arm in (SHUFFLED, RENAMED):
        assert (first[arm] != second[arm]).any()


def test_arms_are_one_until_the_targets_change(whole):
    """The seeds' networks, orders and scored images are the same; from the change on they part."""
    fixed, shuffled = (
        {row[:5]: row.value for row in rows_of(whole[arm])} for arm in (FIXED, SHUFFLED)
    )
    assert fixed.keys() == shuffled.keys()
    same = {place: fixed[place] == shuffled[place] for place in fixed}
    assert all(kept for place, kept in same.items() if place[2] <= SETTINGS["period"])
    last = [fixed[p] - shuffled[p] for p in fixed if p[2] == 4 and p[4] == "learn/loss"]
    assert len(last) == 2 and all(last)
    by_seed = [fixed[(m, 0, 0, 0, "dormant_fraction/tau=0.1/all")] for m in range(2)]
    assert by_seed[0] != by_seed[1]


def test_a_fixed_target_is_learned(whole):
    loss = [row.value for row in rows_of(whole[FIXED]) if row.metric == "learn/loss"]
    assert np.mean(loss[-2:]) < np.mean(loss[:2])
    assert all(results.is_metric(row.metric) for row in rows_of(whole[FIXED]))
    clocks = {row[1:4] for row in rows_of(whole[FIXED])}
    assert clocks == {(0, 0, 0), *((epoch - 1, epoch, 4 * epoch) for epoch in range(1, 5))}


@pytest.mark.parametrize("chunk", [0, 1, 3])
def test_killed_anywhere_it_ends_with_the_same_bytes(whole, tmp_path, monkeypatch, chunk):
    """Rows of the chunk that was cut short lie behind the checkpoint; a resumed run drops them."""

    class Killed(BaseException):
        pass

    def killed(self, states, done):
        states = advance(self, states, done)
        if done == chunk:
            raise Killed
        return states

    advance = run._Run.advance
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run._Run, "advance", killed)
        run.execute(study(SHUFFLED), str(tmp_path), minutes=0.0)
    run.execute(study(SHUFFLED), str(tmp_path))
    wanted = (whole[SHUFFLED] / results.METRICS_FILE).read_bytes()
    assert (tmp_path / results.METRICS_FILE).read_bytes() == wanted


def test_the_first_rows_survive_a_kill_before_them(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run._Run, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run.execute(study(FIXED), str(tmp_path))
    run.execute(study(FIXED), str(tmp_path))
    assert rows_of(tmp_path) == rows_of(whole[FIXED])


@pytest.mark.slow  # compiles the same programs once more, for all devices
def test_one_program_of_all_seeds_has_the_same_numbers(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "make_axis", lambda name, count: members.vmap_axis(count))
    run.execute(study(SHUFFLED), str(tmp_path))
    mine, theirs = rows_of(tmp_path), rows_of(whole[SHUFFLED])
    assert [row[:5] for row in mine] == [row[:5] for row in theirs]
    close = {row.metric for row in mine if row.metric.startswith("learn/")}
    values = [
        [row.value for row in rows if row.metric in close and row.agent_steps <= 2]
        for rows in (mine, theirs)
    ]
    np.testing.assert_allclose(*values, rtol=1e-3)


def test_bad_input(tmp_path):
    with pytest.raises(DormantError, match="unknown arm 'fixed'; did you mean 'fixed targets'"):
        study("fixed")
    with pytest.raises(DormantError, match="batch_size is 65, and there are 64 images"):
        study(FIXED, batch_size=65)
    (tmp_path / results.METRICS_FILE).write_text(results.header() + "0,0,0,0,learn/loss,1\n")
    with pytest.raises(DormantError, match="holds measurements, and checkpoints/ no checkpoint"):
        run.execute(study(FIXED), str(tmp_path))
