"""The map of mixtures: neighbours stay neighbours, and a further iteration does not make points jump."""

import numpy as np
import pytest

from climb_engine.search.landscape import FEWEST, laid_over, next_map, placed, principal_map

M = 12


def mixtures(n, rng, centre=None):
    return rng.dirichlet(np.full(M, 0.5) if centre is None else 200 * centre, n)


def groups(rng, each=20):
    """Three kinds of mixtures, each around a centre of its own."""
    centres = rng.dirichlet(np.full(M, 0.3), 3)
    kinds = np.repeat(np.arange(3), each)
    return np.concatenate([mixtures(each, rng, centre + 1e-3) for centre in centres]), kinds


def shifts(former, positions):
    """How far each former point moved, in units of the map's size."""
    return np.linalg.norm(positions[: len(former)] - former, axis=1) / np.ptp(former, axis=0).max()


@pytest.mark.parametrize("n", [1, 2, 3, FEWEST - 1, FEWEST, 40])
def test_any_number_of_mixtures_has_finite_positions_that_are_the_same_again(n):
    weights = mixtures(n, np.random.default_rng(0))
    found = next_map(weights, np.empty((0, 2)))
    assert found.shape == (n, 2)
    assert np.isfinite(found).all()
    assert np.array_equal(found, next_map(weights, np.empty((0, 2))))


def test_a_single_domain_and_equal_mixtures_do_no_harm():
    assert np.isfinite(next_map(np.ones((10, 1)), np.empty((0, 2)))).all()
    same = np.tile(mixtures(1, np.random.default_rng(0)), (12, 1))
    assert np.isfinite(next_map(same, np.empty((0, 2)))).all()


def test_mixtures_of_a_kind_stand_together():
    weights, kinds = groups(np.random.default_rng(1))
    for found in (next_map(weights, np.empty((0, 2))), principal_map(weights, weights)):
        middles = np.array([found[kinds == kind].mean(axis=0) for kind in range(3)])
        nearest = np.linalg.norm(found[:, None] - middles, axis=2).argmin(axis=1)
        assert (nearest == kinds).mean() > 0.95


def test_former_mixtures_stay_where_they_were_when_an_iteration_comes():
    rng = np.random.default_rng(2)
    weights, _ = groups(rng)
    former = next_map(weights, np.empty((0, 2)))
    more = np.concatenate([weights, mixtures(16, rng, weights[0] + 1e-3)])
    still = shifts(former, next_map(more, former))
    assert np.median(still) < 0.1
    afresh = next_map(more[::-1], np.empty((0, 2)))[::-1]  # as a map that knew nothing of the former
    assert np.median(still) < np.median(shifts(former, afresh)) / 4


def test_in_the_principal_plane_nothing_moves_at_all():
    rng = np.random.default_rng(3)
    first, later = mixtures(20, rng), mixtures(20, rng)
    both = np.concatenate([first, later])
    assert np.allclose(principal_map(both, first)[:20], principal_map(first, first))


def test_a_map_is_laid_over_another_whatever_its_turn_mirror_size_and_place():
    former = np.random.default_rng(4).normal(size=(30, 2))
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, -1])
    assert np.allclose(laid_over(7 * former @ turn + [3, -5], former), former)


def test_what_was_fitted_is_placed_where_it_is_and_what_lies_between_two_between_them():
    fitted = np.eye(3)
    positions = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    found = placed(np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.9, 0.1, 0.0]]), fitted, positions)
    assert np.allclose(found[0], [10, 0])
    assert found[1][0] == pytest.approx(5, abs=1.5)
    assert np.linalg.norm(found[2]) < np.linalg.norm(found[2] - [10, 0])
