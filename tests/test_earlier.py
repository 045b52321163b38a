"""Searches under settings that a run no longer has: listed, looked at, gone back to."""

import json

import pytest

from climb_engine import curation
from climb_engine.config import Override
from climb_engine.earlier import earlier, find, go_back
from climb_engine.types import ClimbError
from tests.test_cli import climb  # noqa: F401 - a fixture

pytestmark = pytest.mark.network


def pruned(run):
    """The run with its first kept cluster pruned by hand, and domains made anew."""
    cluster = next(one.cluster for one in curation.decided(run).decisions if one.kept)
    curation.add(run, Override(action="prune", cluster=cluster))
    run.run("tokens")
    return run


def test_a_run_has_no_earlier_search_until_its_settings_change(own_run):
    assert earlier(own_run) == ()
    pruned(own_run)
    assert len(earlier(own_run)) == 1


def test_an_earlier_search_that_cannot_be_read_hides_no_other(own_run):
    pruned(own_run)
    (own_run.workspace.folder / "search" / "0123456789ab.toml").write_text("[search]\nold_knob = 1\n")
    assert len(earlier(own_run)) == 1


def test_an_earlier_search_can_be_read_as_it_was(own_run):
    config, before = own_run.config, own_run.open_search()
    pruned(own_run)
    found = earlier(own_run)[0]
    assert found.run.config == config
    assert found.search.trials == before.trials
    assert found.search.outcome().chosen == before.outcome().chosen
    assert found.measured == sum(trial.result is not None for trial in before.trials)
    assert found.changed == ("domains.overrides",)


def test_a_search_is_gone_back_to_without_computing_anything(own_run):
    digest, trials, config = own_run.search_digest, own_run.open_search().trials, own_run.config
    pruned(own_run)
    assert own_run.open_search().trials == ()
    machine = own_run.config.with_values({"machine.threads": 1})
    own_run.configure(machine)
    go_back(own_run, digest)
    assert own_run.open_search().trials == trials
    assert {one.state for one in own_run.plan() if not one.optional} == {"done"}
    assert own_run.config == config.with_values({"machine.threads": 1})  # where it runs is a matter of today


def test_one_can_go_back_and_forth(own_run):
    first = own_run.search_digest
    own_run.configure(own_run.config.with_values({"proxy.learning_rate": 0.0017, "search.iterations": [2]}))
    own_run.search()
    second = own_run.search_digest
    assert second != first
    go_back(own_run, first)
    assert [one.digest for one in earlier(own_run)] == [second]
    go_back(own_run, second)
    assert [one.digest for one in earlier(own_run)] == [first]
    assert own_run.config.search.iterations == (2,)


def test_settings_that_nothing_was_made_of_yet_are_not_lost_by_going_back(own_run):
    first = own_run.search_digest
    curation.add(own_run, Override(action="prune", cluster=0, why="an afternoon's work"))
    wanted = own_run.config
    go_back(own_run, first)
    (left,) = earlier(own_run)
    assert left.measured == 0
    go_back(own_run, left.digest)
    assert own_run.config == wanted


def test_a_search_whose_domains_are_gone_has_nothing_to_show(own_run):
    (own_run.needed("tokens").folder / "manifest.json").unlink()
    own_run.configure(own_run.config.with_values({"tokens.seed": 5}))
    assert [one.measured for one in earlier(own_run)] == [0]


def test_an_address_that_is_none_is_refused(own_run):
    with pytest.raises(ClimbError, match="no earlier search"):
        find(own_run, "0" * 12)


def test_the_command_lists_them_and_goes_back(own_run, climb):  # noqa: F811
    runs, digest = own_run.workspace.folder.parent, own_run.search_digest
    assert "no search under other settings" in climb("searches", "tiny", runs=runs)[1]
    pruned(own_run)
    out = climb("searches", "tiny", runs=runs)[1]
    assert digest in out
    assert "domains.overrides" in out
    row = json.loads(climb("searches", "tiny", "--json", runs=runs)[1])[0]
    assert (row["search"], row["changed"]) == (digest, ["domains.overrides"])
    assert row["best"] == max(find(own_run, digest).search.score(t) for t in find(own_run, digest).search.own)
    assert climb("searches", "tiny", "--back", "0" * 12, runs=runs)[0] == 3
    assert digest in climb("searches", "tiny", "--back", digest, runs=runs)[1]
    left = json.loads(climb("searches", "tiny", "--json", runs=runs)[1])
    assert [(one["told"], one["measured"]) for one in left] == [("never", 0)]
