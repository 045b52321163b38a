import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climb_engine.config import SearchConfig
from climb_engine.search.space import SMALLEST, MixtureSpace, distinct
from climb_engine.types import ClimbError

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def spaces(draw, divergence=True):
    """A space that holds at least one mixture: bounds are drawn around one, from very tight to none."""
    m = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(SEEDS))
    tokens = rng.lognormal(0, draw(st.floats(0, 2.5)), m)
    inside = rng.dirichlet(np.full(m, draw(st.sampled_from([0.2, 1.0, 20.0]))))
    width = draw(st.sampled_from([0.0, 1e-6, 0.05, 0.5, 1.0])) * rng.random((2, m))
    lower, upper = inside * (1 - width[0]), inside + (1 - inside) * width[1]
    prior = rng.dirichlet(np.ones(m))
    space = MixtureSpace(tuple(f"d{i}" for i in range(m)), tokens / tokens.sum(), tokens, prior, lower, upper)
    if divergence and draw(st.booleans()):
        least = float(space.divergence(space.natural[None])[0])
        limit = least * (1 + 1e-9) + draw(st.sampled_from([1e-6, 0.05, 0.5]))
        space = MixtureSpace(space.domains, space.share, tokens, prior, lower, upper, limit)
    return space


def space_of(tokens, **knobs):
    names = ("web", "code", "math", "books", "wiki", "news")[: len(tokens)]
    return MixtureSpace.from_config(names, np.array(tokens, dtype=float), SearchConfig(**knobs))


def assert_allowed(space, weights):
    assert weights.dtype == np.float64
    assert space.contains(weights).all()
    assert np.abs(weights.sum(axis=1) - 1).max() < 1e-12
    assert weights.min() >= 0
    assert not ((weights > 0) & (weights < 1e-15) & (space.lower == 0)).any()


@settings(deadline=None, max_examples=80)
@given(spaces(), SEEDS)
def test_every_way_to_a_mixture_satisfies_every_constraint(space, seed):
    rng = np.random.default_rng(seed)
    first, candidates = space.sample(7, rng), space.candidates(50, rng)
    assert first.shape == (7, len(space.domains))
    assert candidates.shape == (50, len(space.domains))
    assert_allowed(space, first)
    assert_allowed(space, candidates)
    assert_allowed(space, space.local(first[:2], 40, rng, scale=0.3))
    assert_allowed(space, space.project(rng.normal(size=(20, len(space.domains)))))
    assert_allowed(space, np.vstack([space.natural, space.uniform]))


@settings(deadline=None, max_examples=80)
@given(spaces(), SEEDS, st.sampled_from([1e-3, 1.0, 1e4]))
def test_projecting_twice_is_projecting_once(space, seed, size):
    points = size * np.random.default_rng(seed).normal(size=(20, len(space.domains)))
    once = space.project(points)
    np.testing.assert_allclose(space.project(once), once, atol=1e-10)


@settings(deadline=None, max_examples=80)
@given(spaces(divergence=False), SEEDS)
def test_no_allowed_mixture_is_closer_than_the_projection(space, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(0.1, 0.5, size=(30, len(space.domains)))
    found = space.project(points)
    others = np.vstack([space.candidates(60, rng), space.local(found, 60, rng, scale=0.02)])
    distance = np.linalg.norm(points - found, axis=1)
    to_others = np.linalg.norm(points[:, None] - others, axis=2)
    assert (distance[:, None] <= to_others + 1e-9).all()


@settings(deadline=None, max_examples=80)
@given(spaces(divergence=False), SEEDS)
def test_natural_is_the_allowed_mixture_of_least_divergence(space, seed):
    rng = np.random.default_rng(seed)
    others = np.vstack([space.candidates(60, rng), space.local(space.natural[None], 60, rng, scale=0.02)])
    assert space.divergence(space.natural[None])[0] <= space.divergence(others).min() + 1e-9


def test_a_projection_changes_the_caller_s_array_in_nothing():
    space = space_of([5, 3, 2], max_divergence=0.01)
    points = np.array([[0.2, 0.2, 0.6], [1e-20, 1.0, 0.0]])
    before = points.copy()
    space.project(points)
    np.testing.assert_array_equal(points, before)


def test_without_constraints_natural_is_the_token_share():
    np.testing.assert_array_equal(space_of([6e9, 3e9, 1e9]).natural, np.array([6e9, 3e9, 1e9]) / 1e10)


def test_uniform_is_equal_weights_where_they_are_allowed():
    np.testing.assert_allclose(space_of([6, 3, 1]).uniform, 1 / 3)
    np.testing.assert_allclose(space_of([6, 3, 1], max_weight={"math": 0.1}).uniform, [0.45, 0.45, 0.1])


def test_the_prior_is_the_tempered_share_or_what_the_user_gives():
    root = np.sqrt([0.64, 0.32, 0.04])
    np.testing.assert_allclose(space_of([64, 32, 4]).prior, root / root.sum())
    np.testing.assert_allclose(space_of([64, 32, 4], prior_exponent=0).prior, 1 / 3)
    np.testing.assert_allclose(space_of([64, 32, 4], prior={"web": 1, "math": 3}).prior, [0.25, 0, 0.75])


def test_the_ratio_cap_holds_in_first_and_in_later_mixtures():
    space = space_of([900, 60, 25, 10, 5], max_ratio=5)
    rng = np.random.default_rng(0)
    for weights in (space.sample(300, rng), space.candidates(3000, rng)):
        assert (weights <= 5 * space.share + 1e-9).all()
        assert (weights.max(axis=0) > 0.8 * np.minimum(5 * space.share, 1)).all()


def test_repeats_are_capped_by_the_tokens_there_are():
    space = space_of([4e9, 5e9, 1e9], token_budget=20_000_000_000, max_repeats=3)
    weights = space.candidates(2000, np.random.default_rng(0))
    repeats = weights * 20e9 / space.tokens
    assert repeats.max() <= 3 + 1e-6
    assert repeats[:, 2].max() > 2.9


def test_a_tight_space_still_gives_distinct_mixtures():
    tokens = np.random.default_rng(0).lognormal(0, 1.2, 6) * 1e9
    space = space_of(tokens, token_budget=int(tokens.sum()), max_repeats=1.05)
    first = space.sample(64, np.random.default_rng(1))
    assert_allowed(space, first)
    assert len(distinct(first)) == 64


def test_a_space_of_one_mixture_gives_it_again_and_again():
    space = space_of([7, 3], min_weight={"web": 0.7}, max_weight={"web": 0.7})
    np.testing.assert_allclose(space.sample(5, np.random.default_rng(0)), np.tile([0.7, 0.3], (5, 1)))


def test_first_mixtures_spread_around_the_prior_and_drop_crumbs():
    space = space_of([40, 25, 20, 10, 5])
    weights = space.sample(1000, np.random.default_rng(3))
    np.testing.assert_allclose(weights.mean(axis=0), space.prior, atol=0.04)  # the cap takes some away
    assert weights[weights > 0].min() >= SMALLEST
    assert (weights == 0).mean() > 0.1
    assert len(distinct(weights)) == 1000


def test_draws_depend_on_the_generator_alone():
    space = space_of([40, 25, 20, 10, 5], max_divergence=0.5)
    for draw in (space.sample, space.candidates):
        same = [draw(20, np.random.default_rng(7)) for _ in range(2)]
        np.testing.assert_array_equal(*same)
        assert len(distinct(draw(20, np.random.default_rng(8)), same[0])) == 20


def test_local_mixtures_stay_near_their_centres_and_can_bring_a_domain_in():
    space = space_of([40, 25, 20, 10, 5])
    centre = np.array([[0.6, 0.3, 0.1, 0.0, 0.0]])
    moved = space.local(centre, 500, np.random.default_rng(0), scale=0.1)
    assert np.abs(moved - centre).max(axis=1).mean() < 0.1
    assert len(distinct(moved)) > 400
    assert (moved[:, 3] > 0.01).any()


def test_a_mixture_too_far_from_natural_moves_straight_towards_it():
    space = space_of([50, 30, 20], max_divergence=0.1)
    far = np.array([[0.0, 0.1, 0.9]])
    pulled = space.project(far)
    assert space.divergence(pulled)[0] == pytest.approx(0.1)
    step, way = pulled[0] - space.natural, far[0] - space.natural
    np.testing.assert_allclose(step / np.linalg.norm(step), way / np.linalg.norm(way))


def test_divergence_is_infinite_off_the_natural_support_and_zero_at_natural():
    space = space_of([50, 50, 0])
    found = space.divergence(np.array([[0.5, 0.5, 0.0], [0.4, 0.4, 0.2], [1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(found, [0.0, np.inf, np.log(2)])
    assert not space.contains(np.array([[0.4, 0.4, 0.2]]))[0]


def test_what_is_no_mixture_is_not_contained():
    bad = np.array([[0.5, 0.4, 0.0], [-0.1, 0.6, 0.5], [np.nan, 0.5, 0.5], [0.5, 0.3, 0.2]])
    np.testing.assert_array_equal(space_of([5, 3, 2]).contains(bad), [False, False, False, True])


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"min_weight": {"math": 0.7, "code": 0.5}}, ["1.2", "math 0.7", "code 0.5"]),
        ({"max_weight": {"web": 0.3, "code": 0.2, "math": 0.3}}, ["sum to 0.8", "web 0.3 (max_weight)"]),
        ({"max_repeats": 4, "token_budget": 5000}, ["sum to 0.8", "code 0.24 (max_repeats 4 x 300 tokens", "5e+03"]),
        ({"max_weight": {"code": 0.1}, "min_weight": {"code": 0.2}}, ["code", "0.2 (min_weight)", "0.1 (max_weight)"]),
        ({"max_ratio": 2, "min_weight": {"math": 0.5}}, ["math", "0.5 (min_weight)", "0.4 (max_ratio 2 x its share)"]),
        ({"max_divergence": 0.1, "min_weight": {"math": 0.9}}, ["max_divergence", "nats", "the bounds of math"]),
        ({"max_repeats": 4}, ["max_repeats", "token_budget"]),
        ({"min_weight": {"mth": 0.1}}, ["search.min_weight", "'mth'", "did you mean 'math'"]),
        ({"max_weight": {"codes": 0.1}}, ["search.max_weight", "did you mean 'code'"]),
        ({"prior": {"weeb": 1.0}}, ["search.prior", "did you mean 'web'"]),
        ({"prior": {"web": 0.0}}, ["search.prior", "above 0"]),
        ({"min_weight": {"web": -0.1}}, ["min_weight", "web", "between 0 and 1"]),
        ({"max_weight": {"web": 1.5}}, ["max_weight", "web", "between 0 and 1"]),
    ],
)
def test_constraints_that_cannot_hold_are_named(knobs, words):
    with pytest.raises(ClimbError) as error:
        space_of([500, 300, 200], **knobs)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("tokens", [[0, 0, 0], [1, -1, 2], [1, np.nan, 2]])
def test_domains_without_countable_tokens_are_refused(tokens):
    with pytest.raises(ClimbError, match="tokens"):
        space_of(tokens)


def test_bounds_that_miss_one_by_rounding_are_met():
    space = space_of([5, 3, 2], max_weight={"web": 0.1, "code": 0.2, "math": 0.7 - 1e-12})
    assert_allowed(space, space.sample(3, np.random.default_rng(0)))


def test_a_domain_without_tokens_never_weighs_anything():
    space = space_of([5, 3, 0])
    rng = np.random.default_rng(0)
    for weights in (space.sample(50, rng), space.candidates(50, rng), space.local(space.sample(3, rng), 50, rng)):
        assert (weights[:, 2] == 0).all()


def test_points_that_are_no_numbers_cannot_be_projected():
    with pytest.raises(ClimbError, match="finite"):
        space_of([5, 3, 2]).project(np.array([[0.5, np.nan, 0.5]]))


def test_nothing_asked_for_is_nothing_drawn():
    space, rng = space_of([5, 3, 2]), np.random.default_rng(0)
    for weights in (space.sample(0, rng), space.candidates(0, rng), space.local(space.natural[None], 0, rng)):
        assert weights.shape == (0, 3)


def test_the_space_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        space_of([5, 3, 2]).upper[0] = 2.0


def test_distinct_drops_repeats_and_what_was_seen_in_order_and_unrounded():
    seen = np.array([[0.5, 0.5]])
    weights = np.array([[0.9, 0.1], [0.50001, 0.49999], [0.2, 0.8], [0.90001, 0.09999], [0.90012, 0.09988]])
    np.testing.assert_array_equal(distinct(weights, seen, decimals=4), weights[[0, 2, 4]])
    np.testing.assert_array_equal(distinct(weights, decimals=3), weights[[0, 1, 2]])
    assert distinct(np.empty((0, 2)), seen).shape == (0, 2)
