import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from climb_engine.config import ProxyConfig, RunConfig, SearchConfig, knobs, unfit
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
        (
            {"machine": {"device": "gpu"}},
            "machine.device: does not fit; it is: auto, cpu, cuda, cuda:N or mps. (got 'gpu')",
        ),
        (
            {"search": {"iterations": [6_000_000_000_000, 4]}},
            "search.iterations: an iteration takes at most 10,000 trials (got 6,000,000,000,000)",
        ),
        ({"search": {"iterations": [1] * 1001}}, "search.iterations: takes at most 1,000 entries"),
        ({"search": {"iterations": []}}, "search.iterations: needs at least 1 entry"),
        ({"search": {"iterations": ["abc"]}}, "search.iterations.0: must be a whole number (got 'abc')"),
        ({"search": {"candidates": 10**12}}, "search.candidates: must be at most 10,000,000 (got 1000000000000)"),
        ({"search": {"method": "best"}}, "search.method: must be 'bayesian', 'climb', 'regmix' or 'random'"),
        ({"search": {"max_ratio": 1}}, "search.max_ratio: must be more than 1 (got 1)"),
        ({"search": {"prior": {"a": "b"}}}, "search.prior.a: must be a number (got 'b')"),
        ({"corpus": {"inputs": "docs.jsonl"}}, "corpus.inputs: must be a list (got 'docs.jsonl')"),
        ({"corpus": {"text_column": ""}}, "corpus.text_column: must not be empty"),
        ({"search": 3}, "search: must be name = value pairs (got 3)"),
        ({"domains": {"overrides": [{"cluster": 1}]}}, "domains.overrides.0.action: is missing"),
        ({"quality": {"scorers": ["column"]}}, "the column scorer needs columns"),
    ],
)
def test_a_fault_names_the_knob_and_what_to_do(values, message):
    with pytest.raises(ClimbError) as raised:
        RunConfig.parse(values, "config.toml")
    assert str(raised.value).startswith("config.toml: ")
    assert message in str(raised.value)


@pytest.mark.parametrize("section", RunConfig.model_fields)
def test_no_whole_number_is_so_large_that_something_breaks(section):
    config = RunConfig()
    for name, spec in type(getattr(config, section)).model_fields.items():
        if spec.annotation is int:
            with pytest.raises(ClimbError, match=rf"{section}\.{name}: must be at most [\d,]+ \(got 10+ …\)"):
                config.with_values({f"{section}.{name}": 10**100})


def test_a_knob_is_judged_by_itself():
    assert unfit(SearchConfig, "iterations", [4, 0]) == "every iteration needs at least 1 trial"
    assert unfit(SearchConfig, "iterations", [4, 2]) == ""
    assert unfit(ProxyConfig, "hidden", 30) == ""  # whether it goes with heads is the whole section's affair


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
