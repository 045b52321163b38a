import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from climb_engine.config import RunConfig, knobs
from climb_engine.types import ClimbError


def test_the_defaults_survive_the_round_trip_and_every_knob_has_its_help():
    config = RunConfig()
    text = config.to_toml()
    assert RunConfig.parse(tomllib.loads(text)) == config
    for name in RunConfig.model_fields:
        section = type(getattr(config, name))
        for knob, field in section.model_fields.items():
            assert field.description, f"{name}.{knob} has no help"
            assert f"# {field.description}\n{knob} = " in text


@given(
    why=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    weights=st.dictionaries(st.text("abc-", min_size=1), st.floats(0, 1), max_size=3),
)
def test_any_text_and_any_numbers_survive_the_round_trip(why, weights):
    config = RunConfig().with_values(
        {
            "domains.overrides": [{"action": "prune", "cluster": 1, "why": why}],
            "search.prior": weights,
            "corpus.inputs": [why],
        }
    )
    assert RunConfig.parse(tomllib.loads(config.to_toml())) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clusterin": {}}, "there is no knob clusterin; did you mean 'clustering'?"),
        ({"clustering": {"n_cluster": 3}}, "there is no knob clustering.n_cluster; did you mean 'n_clusters'?"),
        (
            {"clustering": {"n_clusters": 1}},
            "clustering: n_clusters must be at least 2, or 0 for a number that fits the corpus",
        ),
        ({"domains": {"thresholds": {"qualty": 3}}}, "no metric is called 'qualty'; did you mean 'quality'?"),
        ({"domains": {"overrides": [{"action": "keep"}]}}, "an override that says keep needs cluster = N"),
        ({"domains": {"overrides": [{"action": "keep", "cluser": 3}]}}, "did you mean 'cluster'?"),
        (
            {"domains": {"overrides": [{"action": "rename", "domain": "a", "to": "all"}]}},
            'no domain can be called "all"',
        ),
        ({"proxy": {"hidden": 30, "heads": 4}}, "hidden must be heads times an even number"),
        ({"search": {"iterations": [4, 0]}}, "every iteration needs at least 1 trial"),
        ({"machine": {"device": "gpu"}}, "machine.device"),
        ({"quality": {"scorers": ["column"]}}, "the column scorer needs columns"),
    ],
)
def test_a_fault_names_the_knob_and_what_to_do(values, message):
    with pytest.raises(ClimbError) as raised:
        RunConfig.parse(values, "config.toml")
    assert str(raised.value).startswith("config.toml: ")
    assert message in str(raised.value)


def test_broken_toml_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "config.toml").write_text("[corpus\n")
    with pytest.raises(ClimbError, match=r"config\.toml: not valid TOML.*line 1"):
        RunConfig.load(tmp_path / "config.toml")
    with pytest.raises(ClimbError, match="no such file; 'climb init' writes one"):
        RunConfig.load(tmp_path / "none.toml")


def test_what_is_only_history_is_no_knob():
    override = {"action": "prune", "cluster": 1}
    plain = RunConfig().with_values({"domains.overrides": [override]})
    told = RunConfig().with_values({"domains.overrides": [{**override, "why": "spam", "who": "a", "when": "now"}]})
    assert plain != told
    assert knobs(plain.domains) == knobs(told.domains)


def test_the_demo_config_is_valid():
    from climb_engine.demo import demo_config

    assert demo_config().clustering.n_clusters >= 100
