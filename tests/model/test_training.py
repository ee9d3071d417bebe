from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from liveloc.model.bundle import SHIPPED
from liveloc.model.simulation import Simulator
from liveloc.model.training import Trainer
from liveloc.model.training_config import TrainingConfig
from liveloc.stream.errors import SettingsError

CPU = torch.device("cpu")


def config(steps=30, **schedule):
    loaded = TrainingConfig.load(SHIPPED / "simulated-microscope.yaml")
    changed = {"steps": steps, "batch": 4, "crop_px": 24, **schedule}
    return loaded.model_copy(
        update={"schedule": loaded.schedule.model_copy(update=changed)}
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


def test_training_lowers_the_loss(tmp_path):
    trainer = Trainer(config(steps=60), CPU, tmp_path / "checkpoint.pt")
    samples = simulate(config(), 99, 32, 24)

    def value():
        with torch.inference_mode():
            return float(trainer._loss(samples))

    before = value()
    trainer.run(lambda progress: None)
    assert value() < before - 2


def test_a_resumed_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("liveloc.model.training.LOOKS", 2)
    monkeypatch.setattr("liveloc.model.validation.WINDOWS", 32)
    whole, _ = train(tmp_path / "whole", steps=12)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", steps=12, stop_at=6)
    parts, _ = train(tmp_path / "parts", steps=12)
    assert parts.step == 12
    for one, other in zip(
        whole.average.parameters(), parts.average.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    train(tmp_path, steps=2)
    with pytest.raises(SettingsError, match="another training configuration"):
        Trainer(config(steps=3), CPU, tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("name", ["simulated-microscope", "gaussian-2d"])
def test_the_shipped_configurations_are_valid(name):
    assert TrainingConfig.load(SHIPPED / f"{name}.yaml").name == name


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    text = (SHIPPED / "gaussian-2d.yaml").read_text()
    path = tmp_path / "bad.yaml"
    path.write_text(text.replace("pixel_size_nm", "pixelsize_nm"))
    with pytest.raises(SettingsError, match="'pixel_size_nm'"):
        TrainingConfig.load(path)


def test_depth_without_astigmatism_is_refused_with_the_reason(tmp_path):
    text = (SHIPPED / "gaussian-2d.yaml").read_text()
    path = tmp_path / "bad.yaml"
    path.write_text(text + "\nz_range_nm: [-400, 400]\n")
    with pytest.raises(SettingsError, match="round Gaussian says nothing about z"):
        TrainingConfig.load(path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_training_runs_on_a_gpu_and_resumes_there(tmp_path):
    device = torch.device("cuda")
    Trainer(config(steps=20), device, tmp_path / "checkpoint.pt").run(lambda p: None)
    again = Trainer(config(steps=20), device, tmp_path / "checkpoint.pt")
    assert again.step == 20
    assert all(torch.isfinite(p).all() for p in again.average.parameters())
