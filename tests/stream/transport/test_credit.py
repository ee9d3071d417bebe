"""Credit and settling: after any history frames are localized again."""

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).with_name("credit_model.py")
_spec = importlib.util.spec_from_file_location("credit_model", _PATH)
credit_model = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(credit_model)


def after_a_pause(*, ring_frames, old_rule):
    """Pause an engine for longer than ring and queue hold frames, then go on."""
    model = credit_model.CreditModel(
        ring_frames, block_frames=8, queue_frames=200, old_rule=old_rule
    )
    for _ in range(37):
        model.expose()
        model.step()
    model.engine_paused = True
    for _ in range(600):
        model.expose()
        model.step()
    return model


@pytest.mark.parametrize("ring_frames", [64, 256])
def test_a_paused_engine_goes_on_whatever_was_shed_meanwhile(ring_frames):
    model = after_a_pause(ring_frames=ring_frames, old_rule=False)
    model.calm_down()
    model.finish()


@pytest.mark.parametrize("ring_frames", [64, 128])
def test_pixels_kept_until_their_rows_are_written_would_block_the_stream(ring_frames):
    model = after_a_pause(ring_frames=ring_frames, old_rule=True)
    with pytest.raises(credit_model.Stuck):
        model.calm_down()


@pytest.mark.timeout(300)
def test_no_history_gets_stuck():
    credit_model.run_histories(1000)


def test_random_histories_find_the_old_rule():
    with pytest.raises(credit_model.Stuck):
        credit_model.run_histories(30, old_rule=True, seed=1)
