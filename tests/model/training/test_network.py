import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from liveloc.model.backend import OnnxBackend
from liveloc.model.bundle import load_bundle, shipped_bundles
from liveloc.model.maps import CELLS, MAPS, PIXELS
from liveloc.model.training.cell_network import CellShape
from liveloc.model.training.export import network_of
from liveloc.model.training.loss import Targets, loss
from liveloc.model.training.network import (
    PRESETS,
    Network,
    Scaling,
    flop_per_pixel,
    to_units,
)

SCALING = Scaling(
    intensity_offset=6,
    intensity_scale=10,
    read_variance=2.56,
    photons_typical=2000,
    z_centre_nm=0,
    z_reach_nm=500,
)
P, X, Y, Z, N = (
    MAPS.index(name) for name in ("probability", "x_px", "y_px", "z_nm", "photons")
)
BG = MAPS.index("background")


def live():
    torch.manual_seed(0)
    return Network(PRESETS["live"], SCALING).eval()


def targets(*emitters, side=16, background=9.0):
    """One sample with emitters (x, y, z, photons)."""
    columns = torch.tensor(emitters, dtype=torch.float32).reshape(-1, 4).T[:, None]
    if not emitters:
        columns = torch.ones(4, 1, 1)
    present = torch.full(columns[0].shape, bool(emitters))
    return Targets(present, *columns, torch.full((1, side, side), background))


def maps_of(p=1e-3, side=8, background=9.0):
    maps = torch.zeros(1, len(MAPS), side, side)
    maps[:, P] = p
    maps[:, N] = 2000.0
    maps[:, N + 1 : BG] = torch.tensor([0.1, 0.1, 20.0, 0.1])[None, :, None, None]
    maps[:, BG] = background
    return maps


@pytest.mark.parametrize(
    ("preset", "most"), [("live", 60_000), ("dense", 280_000), ("decode", 1_186_080)]
)
def test_a_preset_costs_no_more_than_it_promises(preset, most):
    assert most / 3 < flop_per_pixel(PRESETS[preset]) <= most


def test_the_decode_preset_is_the_published_network():
    net = Network(PRESETS["decode"], SCALING)
    assert sum(p.numel() for p in net.parameters()) == 2_199_418
    assert flop_per_pixel(PRESETS["decode"]) == 2 * (223_920 + 285_696 + 83_424)
    alone = Network(PRESETS["decode"], SCALING, context=False)
    assert sum(p.numel() for p in alone.parameters()) == 2_157_946


def test_the_decode_preset_sees_44_pixels_far_and_no_farther():
    torch.manual_seed(0)
    # In float32 a fast convolution may round one output with another's inputs.
    net = Network(PRESETS["decode"], SCALING).eval().double()
    frames = torch.full((1, 3, 192, 8), 10.0).double()
    other = frames.clone()
    other[:, 1, 96] = 500.0
    with torch.inference_mode():
        changed = (net.raw(frames) != net.raw(other)).any(dim=(1, 3))[0].nonzero()
    assert 96 - changed.min() <= 44 and changed.max() - 96 <= 44
    assert changed.max() - changed.min() > 60


@pytest.mark.parametrize("preset", ["live", "dense", "decode"])
def test_a_network_without_context_does_not_see_the_neighbours(preset):
    torch.manual_seed(0)
    frames = torch.rand(1, 3, 32, 32) * 50
    other = frames.clone()
    other[:, 0], other[:, 2] = 100.0, 0.0
    for context in (False, True):
        net = Network(PRESETS[preset], SCALING, context=context).eval()
        with torch.inference_mode():
            same = torch.equal(net(frames)[:, 1:], net(other)[:, 1:])
        assert same is not context


def test_a_network_that_sees_the_noise_map_uses_it():
    torch.manual_seed(0)
    net = Network(PRESETS["live"], SCALING, sees_noise=True).eval()
    frames, quiet = torch.rand(2, 3, 32, 32) * 50, torch.ones(2, 1, 32, 32)
    noisy = quiet.clone()
    noisy[:, :, 10, 10] = 400.0
    with torch.inference_mode():
        assert not torch.equal(net(frames, quiet), net(frames, noisy))


def test_cost_is_counted_from_the_layers():
    trunk, deep = 8, 16
    shape = CellShape(trunk=trunk, deep=deep, frame_layers=1, context_layers=2)

    def block(layers):
        down_and_deep = 9 * deep * (trunk + layers * deep) + deep * trunk
        return down_and_deep / 16 + 9 * trunk * trunk / 4

    stem, merge, head = 9 * 4 * trunk / 4, 3 * trunk * trunk / 4, trunk * len(MAPS) / 4
    multiply_adds = stem + block(1) + merge + block(2) + head
    assert flop_per_pixel(shape) == pytest.approx(2 * multiply_adds)


def test_the_first_probability_is_the_bias_on_every_pixel_of_any_frame():
    windows = torch.rand(2, 3, 32, 40) * 500
    with torch.inference_mode():
        maps = live()(windows)
    assert maps.shape == (2, len(MAPS), 16, 20)
    assert torch.allclose(maps[:, P], torch.sigmoid(torch.tensor(-4.0)))


def test_features_computed_once_give_the_maps_of_the_window():
    net, windows = live().double(), torch.rand(1, 3, 32, 32).double() * 50
    with torch.inference_mode():
        alone = [net.frame(windows[:, k : k + 1]) for k in range(3)]
        maps = net.raw(windows)
        again = net.context.raw(*alone)
    # Raw maps are of order 1, and eps is 2e-16: what rounding does is far below.
    assert maps.dtype == torch.float64
    assert torch.allclose(again, maps, rtol=1e-10, atol=1e-10)


def test_units_keep_every_map_in_its_range():
    raw = torch.randn(2, len(MAPS), 8, 8) * 50
    maps = to_units(raw, SCALING, CELLS)
    assert torch.isfinite(maps).all()
    assert ((maps[:, P] > 0) & (maps[:, P] < 1)).all()
    assert (maps[:, N] > 0).all()
    assert (maps[:, N + 1 : BG] > 0).all()
    assert (maps[:, Z].abs() <= 500).all()


def test_an_empty_frame_costs_its_false_positives():
    empty = targets()
    p = torch.tensor(0.01, requires_grad=True)
    maps = maps_of()
    maps[:, P] = p
    loss(maps, empty, CELLS, 500).backward()
    assert p.grad > 0
    bright = maps_of()
    bright[:, P, 3, 3] = 0.9
    assert loss(bright, empty, CELLS, 500) > loss(maps_of(), empty, CELLS, 500) + 1


def test_the_right_place_costs_less_than_a_wrong_one_in_every_coordinate():
    truth = targets((6.5, 8.5, 100.0, 2000.0))
    right = maps_of()
    right[:, P, 4, 3] = 0.99
    right[:, Z] = 100.0
    best = loss(right, truth, CELLS, 500)
    for channel, wrong in ((X, 0.5), (Y, -0.5), (Z, 200.0), (N, 4000.0)):
        other = right.clone()
        other[:, channel] = wrong
        assert loss(other, truth, CELLS, 500) > best + 1


def test_a_2d_network_says_nothing_of_z():
    flat = dataclasses.replace(SCALING, z_reach_nm=0)
    maps = to_units(torch.randn(1, len(MAPS), 4, 4), flat, CELLS)
    assert (maps[:, Z] == 0).all()
    assert (maps[:, MAPS.index("z_sigma_nm")] == 0).all()


def test_a_2d_network_does_not_pay_for_z():
    truth = targets((6.5, 8.5, 0.0, 2000.0))
    one, other = maps_of(), maps_of()
    other[:, Z] = 300.0
    assert loss(one, truth, CELLS, 0) == loss(other, truth, CELLS, 0)


@pytest.mark.parametrize("grid", [PIXELS, CELLS])
def test_an_emitter_is_located_on_cells_of_any_size(grid):
    side = 16 // grid.cell_px
    x, y = 6.3, 8.6
    truth = targets((x, y, 100.0, 2000.0))
    right = maps_of(side=side)
    column, row = (int((v + 0.5) // grid.cell_px) for v in (x, y))
    half = (grid.cell_px - 1) / 2
    right[:, P, row, column] = 0.99
    right[:, X, row, column] = x - column * grid.cell_px - half
    right[:, Y, row, column] = y - row * grid.cell_px - half
    right[:, Z, row, column] = 100.0
    best = loss(right, truth, grid, 500)
    for channel in (X, Y):
        for off in (-0.3, 0.3):
            wrong = right.clone()
            wrong[:, channel, row, column] += off
            assert loss(wrong, truth, grid, 500) > best + 1


def test_counts_are_not_weighted_by_their_number():
    def miss(count):
        emitters = [(2.0 * k + 0.5, 8.5, 0.0, 2000.0) for k in range(count)]
        right, short = maps_of(), maps_of()
        for k in range(count):
            right[:, P, 4, k] = 0.99
            short[:, P, 4, k] = 0.99 if k else 1e-3
        truth = targets(*emitters)
        return float(loss(short, truth, CELLS, 500) - loss(right, truth, CELLS, 500))

    assert miss(6) < 3 * miss(2)


def test_the_background_is_learned_on_its_own_scale():
    truth = targets(background=9.0)
    right = loss(maps_of(background=9.0), truth, CELLS, 500)
    assert math.isclose(
        float(loss(maps_of(background=16.0), truth, CELLS, 500) - right),
        12.5,
        rel_tol=1e-3,
    )


@pytest.mark.parametrize("name", shipped_bundles())
def test_the_graphs_agree_with_the_weights(name):
    bundle = load_bundle(name)
    net = network_of(bundle)
    photons = np.random.default_rng(1).poisson(20, (3, 1, 24, 32)).astype(np.float32)
    backend = OnnxBackend(bundle, threads=1)
    features = backend.features(photons)
    maps = backend.maps([tuple(features)])
    with torch.inference_mode():
        expected = net(torch.as_tensor(photons).reshape(1, 3, 24, 32)).numpy()
    # Both round after each of some ten layers, in another order: they differ by about
    # 10 eps of the largest value. That of a probability is 1, however dark the frames.
    eps = np.finfo(np.float32).eps
    for k, channel in enumerate(MAPS):
        scale = np.abs(expected[:, k]).max() if channel != "probability" else 1.0
        assert np.abs(maps[:, k] - expected[:, k]).max() <= 100 * eps * scale, channel
