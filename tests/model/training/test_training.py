from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from liveloc.model.bundle import SHIPPED
from liveloc.model.training.optimizer import orthogonal
from liveloc.model.training.simulation import Simulator
from liveloc.model.training.trainer import Trainer
from liveloc.model.training_config import Optics, TrainingConfig
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError

CPU = torch.device("cpu")


def config(steps=30, **schedule):
    loaded = TrainingConfig.load(SHIPPED / "simulated-microscope.yaml")
    changed = {"steps": steps, "batch": 4, "crop_px": 24, **schedule}
    sparse = {"density_per_um2": (0.02, 1.0), "filaments": 0.0}
    return loaded.model_copy(
        update={
            "schedule": loaded.schedule.model_copy(update=changed),
            "emitters": loaded.emitters.model_copy(update=sparse),
        }
    )


def simulate(settings, seed, batch, side):
    simulator = Simulator(settings, settings.optics(), CPU, seed)
    return simulator.draw(batch, 1, side)


def train(folder: Path, steps=30, stop_at=None):
    trainer, losses = Trainer(config(steps), CPU, folder / "checkpoint.pt"), []

    def report(progress):
        losses.append(progress.loss)
        if stop_at is not None and progress.step >= stop_at:
            raise KeyboardInterrupt

    trainer.run(report)
    return trainer, losses


def test_the_simulated_density_is_the_one_asked_for():
    settings = config()
    emitters = settings.emitters.model_copy(
        update={"density_per_um2": (0.3, 0.3), "on_time_frames": (1e3, 1e3)}
    )
    movies = simulate(settings.model_copy(update={"emitters": emitters}), 1, 200, 40)
    density = movies.targets.present.sum() / 200 / 16.0
    assert float(density) == pytest.approx(0.3, rel=0.05)


def test_frames_hold_background_plus_the_photons_of_their_emitters():
    sample = simulate(config(), 2, 64, 40)
    inner = sample.targets.photons[sample.targets.present].sum()
    total = (sample.frames[:, 1] - sample.targets.background).sum()
    assert float(total) == pytest.approx(float(inner), rel=0.15)


def test_targets_lie_inside_the_crop_and_above_the_label_threshold():
    settings = config()
    targets = simulate(settings, 3, 64, 24).targets
    present = targets.present
    assert targets.x_px[present].min() > -0.5 and targets.x_px[present].max() < 23.5
    assert targets.photons[present].min() > settings.emitters.label_photons
    assert targets.z_nm[present].abs().max() <= settings.z_range_nm[1]


def test_the_same_seed_gives_the_same_samples():
    one, two = (simulate(config(), 5, 8, 24) for _ in range(2))
    other = simulate(config(), 6, 8, 24)
    assert torch.equal(one.frames, two.frames)
    assert not torch.equal(one.frames, other.frames)


@pytest.fixture(autouse=True)
def little_validation(monkeypatch):
    monkeypatch.setattr("liveloc.model.training.trainer.VALIDATIONS", 2)
    monkeypatch.setattr("liveloc.model.training.validation.WINDOWS", 32)


def test_training_lowers_the_loss(tmp_path):
    trainer = Trainer(config(steps=14), CPU, tmp_path / "checkpoint.pt")
    samples = simulate(config(), 99, 32, 24)

    def value():
        with torch.inference_mode():
            return float(trainer._loss(samples))

    before = value()
    trainer.run(lambda progress: None)
    assert value() < before - 2


def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    whole, _ = train(tmp_path / "whole", steps=6)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", steps=6, stop_at=3)
    parts, _ = train(tmp_path / "parts", steps=6)
    assert parts.step == 6
    for one, other in zip(
        whole.average.parameters(), parts.average.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    train(tmp_path, steps=2)
    with pytest.raises(SettingsError, match="another training configuration"):
        Trainer(config(steps=3), CPU, tmp_path / "checkpoint.pt")


def test_a_training_ends_after_its_minutes_and_a_resumed_one_counts_the_first(
    tmp_path,
):
    path = tmp_path / "checkpoint.pt"
    settings = config(steps=10**9)
    trainer = Trainer(settings, CPU, path, minutes=0.02)
    trainer.run(lambda progress: None)
    assert trainer.done == 1
    assert 0 < trainer.step < 10**6
    again = Trainer(settings, CPU, path, minutes=0.02)
    again.run(lambda progress: None)
    assert again.step == trainer.step


def test_emitters_that_switch_between_frames_are_on_for_whole_frames():
    settings = config()
    emitters = settings.emitters.model_copy(
        update={
            "switching": "between frames",
            "photons": (1000.0, 1000.0),
            "photons_spread": 0.0,
            "on_time_frames": (2.0, 2.0),
            "density_per_um2": (0.5, 0.5),
        }
    )
    settings = settings.model_copy(update={"emitters": emitters})
    simulator = Simulator(settings, settings.optics(), CPU, 1)
    targets = simulator.draw(64, 4, 32).targets
    photons = targets.photons[targets.present]
    assert torch.allclose(photons, torch.tensor(1000.0))
    density = targets.present.sum() / len(targets.present) / 3.2**2
    assert float(density) == pytest.approx(0.5, rel=0.08)
    light = simulator._switching(torch.full((500,), 20.0), torch.full((500,), 2.0), 6)
    on = light > 0
    stays = (on[:, 1:] & on[:, :-1]).sum() / on[:, :-1].sum()
    assert float(stays) == pytest.approx(0.5, abs=0.02)
    assert float(on[:, 5].sum() / on[:, 0].sum()) == pytest.approx(1, abs=0.05)


def test_emitters_on_filaments_crowd_at_the_same_density():
    settings = config()
    near = []
    for share in (0.0, 1.0):
        emitters = settings.emitters.model_copy(
            update={
                "filaments": share,
                "density_per_um2": (0.3, 0.3),
                "on_time_frames": (1e3, 1e3),
            }
        )
        changed = settings.model_copy(update={"emitters": emitters})
        targets = simulate(changed, 1, 400, 40).targets
        assert float(targets.present.sum() / 400 / 16.0) == pytest.approx(0.3, rel=0.05)
        distance = torch.hypot(
            *(at[:, :, None] - at[:, None] for at in (targets.x_px, targets.y_px))
        )
        both = targets.present[:, :, None] & targets.present[:, None]
        both &= ~torch.eye(both.shape[1], dtype=torch.bool)
        near.append(int((both & (distance < 1)).sum()))
    assert near[1] > 2 * near[0]


def test_the_response_compares_expected_with_simulated_densities(monkeypatch):
    from liveloc.model.bundle import load_bundle
    from liveloc.model.training import response
    from liveloc.model.training.export import network_of

    monkeypatch.setattr(response, "MOVIES", 16)
    monkeypatch.setattr(response, "DENSITIES", 3)
    settings = config()
    emitters = settings.emitters.model_copy(
        update={"density_per_um2": (0.1, 0.9), "on_time_frames": (3.0, 3.0)}
    )
    settings = settings.model_copy(update={"emitters": emitters})
    network = network_of(load_bundle("simulated-microscope"))
    pairs = response.measure_response(network, settings, settings.optics(), CPU)
    expected, true = np.transpose(pairs)
    seen = np.array([0.1, 0.3, 0.9]) * (3 + 1) / 3  # in a frame, not at a moment
    assert true == pytest.approx(seen, rel=0.15)
    assert expected == pytest.approx(true, rel=0.2)


def test_electron_multiplication_doubles_the_noise():
    settings = config()
    emitters = settings.emitters.model_copy(update={"density_per_um2": (1e-6, 1e-6)})
    ground = settings.background.model_copy(
        update={"photons": (50.0, 50.0), "structure": 0.0}
    )
    for gain, variance in ((1.0, 50.0), (300.0, 100.0)):
        camera = settings.camera.model_copy(
            update={"em_gain": gain, "read_noise_e": 0.0, "e_per_adu": 0.01}
        )
        changes = {"emitters": emitters, "background": ground, "camera": camera}
        movies = simulate(settings.model_copy(update=changes), 4, 16, 48)
        assert float(movies.frames.mean()) == pytest.approx(50, rel=0.01)
        assert float(movies.frames.var()) == pytest.approx(variance, rel=0.03)


def test_camera_maps_give_every_movie_its_part_of_the_chip(tmp_path):
    read = np.full((60, 70), 1.0, np.float32)
    read[::2] = 20.0
    camera = CameraCalibration(offset_adu=100.0, e_per_adu=0.5, read_noise_e=read)
    settings = config()
    optics = Optics(settings.optics().psf, camera)
    movies = Simulator(settings, optics, CPU, 1).draw(64, 1, 24)
    assert movies.read_variance.shape == (64, 1, 24, 24)
    assert set(movies.read_variance.unique().tolist()) == {1.0, 400.0}
    noisy = movies.read_variance.expand_as(movies.frames) > 1
    spread = [float(movies.frames[part].std()) for part in (noisy, ~noisy)]
    assert spread[0] > spread[1] + 5
    starts = movies.read_variance[:, 0, 0, 0]
    assert len(starts.unique()) == 2


def test_muon_steps_are_orthogonal_whatever_the_gradient():
    torch.manual_seed(1)
    for shape in ((16, 64), (64, 16)):
        singular = torch.linalg.svdvals(orthogonal(torch.randn(shape) * 1e-3))
        assert singular.min() > 0.5 and singular.max() < 1.5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_training_runs_on_a_gpu_and_resumes_there(tmp_path):
    device = torch.device("cuda")
    Trainer(config(steps=20), device, tmp_path / "checkpoint.pt").run(lambda p: None)
    again = Trainer(config(steps=20), device, tmp_path / "checkpoint.pt")
    assert again.step == 20
    assert all(torch.isfinite(p).all() for p in again.average.parameters())
