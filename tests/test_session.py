"""Whole sessions through real processes, sockets and files."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from liveloc.stream.balance import ALARM
from liveloc.stream.recording.segments import SegmentReader
from liveloc.stream.session.alarms import Alarm
from liveloc.stream.tables.opening import read_table

# Several whole processes each: more time than one test usually gets.
pytestmark = pytest.mark.timeout(180)

FRAMES = 120  # of the recorded session


def start(*arguments, log):
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "liveloc", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
        )


def wait_for(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def settings_file(folder, frames, frames_port=0, localizations_port=0, exposure_ms=10):
    path = folder / "session.yaml"
    path.write_text(
        f"camera: {{config: simulated, frames: {frames}, exposure_ms: {exposure_ms}}}\n"
        "simulation: {shape: [64, 64]}\n"
        "stream:\n"
        f"  frames_endpoint: tcp://127.0.0.1:{frames_port}\n"
        f"  localizations_endpoint: tcp://127.0.0.1:{localizations_port}\n"
        "  record: true\n"
        "engine: {model: simulated-microscope, threads: 1}\n"
    )
    return path


@pytest.fixture(scope="module")
def recorded(liveloc, ended_well, tmp_path_factory):
    """A recorded live session of the simulated microscope."""
    folder = tmp_path_factory.mktemp("demo") / "session"
    report = folder.parent / "report.json"
    result = liveloc(
        *("demo", "--headless", "--frames", FRAMES, "--size", 64, "--record"),
        *("--session", folder, "--json", report),
    )
    assert ended_well(result.returncode, folder), result.stdout + result.stderr
    return folder, json.loads(report.read_text())


def control_lines(folder, kind):
    lines = (folder / "control.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def test_the_density_is_held_and_another_law_can_be_asked_later(
    liveloc, steady, ended_well, tmp_path
):
    settings = settings_file(tmp_path, frames=450, exposure_ms=20)
    said = []

    def run(folder):
        aimed = ("--headless", "--target-density", 0.5, "--session", folder)
        result = liveloc("run", settings, *aimed)
        said.append(result.stdout + result.stderr)
        return result.returncode

    code, folder = steady(run, tmp_path)
    assert ended_well(code, folder), said[-1]
    assert "density held at 0.5 per um2 by law ratio" in said[-1]
    feedback = json.loads((folder / "report.json").read_text())["feedback"]
    assert feedback["target_per_um2"] == 0.5
    assert feedback["settled_after_frames"] < 300
    assert 0 < feedback["frame_to_laser_ms"]["p50"] < 1000
    assert 0 <= feedback["within_10_percent_fraction"] <= 1
    decisions = control_lines(folder, "decision")
    last = [line["frames"][1] for line in decisions]
    assert last == sorted(set(last)) and last[-1] <= 449
    held = [line["per_um2"] for line in decisions if line["frames"][0] > 300]
    assert sum(held) / len(held) == pytest.approx(0.5, rel=0.2)

    again = tmp_path / "again"
    result = liveloc("replay", folder, "--out", again, "--control", "htsmlm")
    assert result.returncode == 0, result.stdout + result.stderr
    heard = control_lines(again, "decision")
    assert heard[-1]["frames"][1] >= 440
    real = {line["power"] for line in control_lines(folder, "laser")}
    assert len(real & {line["power"] for line in heard}) > 5
    assert {line["power"] for line in heard} <= real
    assert [n["given"] for n in heard] != [n["given"] for n in decisions]
    assert (again / "control.png").stat().st_size > 5000


def test_a_rule_ends_a_session_and_is_named(liveloc, ended_well, tmp_path):
    file = tmp_path / "session.yaml"
    file.write_text(
        "simulation: {shape: [64, 64]}\n"
        "engine: {model: simulated-microscope}\n"
        "control: {stop: {minutes: 0.02}}\n"
    )
    folder = tmp_path / "-out"  # is no option of the commands that run starts
    result = liveloc("run", file, "--headless", "--session", "./-out", cwd=tmp_path)
    assert ended_well(result.returncode, folder), result.stdout + result.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["status"] == "ok"
    assert report["reason"].startswith("minutes: 0.0")
    assert report["bridge"]["feedback"]["stopped_by"] == report["reason"]
    assert 20 < report["frames"]["camera"] < 600  # 120, less a second of standstill


def test_a_demo_reports_what_it_promises(recorded):
    folder, report = recorded
    assert report["frames"] == {
        "camera": FRAMES,
        "localized": FRAMES,
        "lost": {},
        "unexplained": 0,
    }
    assert set(report["latency_ms"]) == {"p50", "p95", "p99"}
    assert report["laser"]["unit"] == "mW" and report["laser"]["end"] > 0
    assert report["laser"]["safe"] is True
    assert report["accuracy"]["jaccard"] > 80
    assert report["accuracy"]["rmse_lateral_nm"] < 30
    assert 0.05 < report["density_per_um2"] < 0.6
    assert report["session"] == str(folder)
    assert report["localizations"] == len(read_table(folder / "localizations.arrow")[0])
    powers = [line["power"] for line in control_lines(folder, "laser")]
    assert (powers[0], max(powers), powers[-1]) == (0.0, report["laser"]["end"], 0.0)
    for name in (
        *("session.yaml", "reconstruction.png", "reconstruction.tif"),
        *("report.json", "report.html"),
    ):
        assert (folder / name).stat().st_size > 0


def test_the_recording_holds_every_frame(recorded):
    folder, _ = recorded
    with SegmentReader(folder / "stream") as recording:
        assert [frame.header.seq for frame in recording] == list(range(FRAMES))
        assert recording.end is not None and recording.end.status == "ok"


def test_replays_are_byte_identical_to_each_other_and_to_the_live_table(
    liveloc, recorded, tmp_path
):
    folder, _ = recorded
    for name in ("one", "two"):
        result = liveloc("replay", folder, "--out", tmp_path / name)
        assert result.returncode == 0, result.stdout + result.stderr
    live, one, two = (
        (path / "localizations.arrow").read_bytes()
        for path in (folder, tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    assert one == live


def test_fitting_the_recording_gives_the_live_table(liveloc, recorded, tmp_path):
    folder, _ = recorded
    result = liveloc("fit", folder, "--out", tmp_path / "fit")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "fit" / "localizations.arrow").read_bytes() == (
        folder / "localizations.arrow"
    ).read_bytes()


@pytest.mark.parametrize("command", ["fit", "replay"])
def test_a_damaged_recording_gives_its_good_frames_and_no_good_end(
    liveloc, recorded, tmp_path, command
):
    folder, _ = recorded
    shutil.copytree(folder, tmp_path / "damaged")
    path = tmp_path / "damaged" / "stream" / "seg-000000.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 + 100] ^= 1  # of the frame in the middle
    path.write_bytes(content)
    out = tmp_path / "out"
    result = liveloc(command, tmp_path / "damaged", "--out", out)
    good = FRAMES // 2
    assert result.returncode == 1, result.stdout + result.stderr
    said = result.stdout + result.stderr
    assert f"the recording is damaged. {good} good frames up to byte" in said
    assert "Traceback" not in said
    report = json.loads((out / "report.json").read_text())
    assert report["frames"]["localized"] == report["frames"]["camera"] == good
    assert (report["status"], "damaged" in report["reason"]) == ("failed", True)
    assert (out / "report.html").exists() and (out / "reconstruction.png").exists()
    found, live = (
        read_table(path / "localizations.arrow")[0] for path in (out, folder)
    )
    same = live[live["frame"] < good - 1]  # the last one lacks its neighbour
    assert np.array_equal(found[found["frame"] < good - 1], same)


def test_a_refined_fit_and_replay_agree_and_come_closer_to_the_truth(
    liveloc, recorded, tmp_path
):
    folder, _ = recorded
    for command in ("fit", "replay"):
        result = liveloc(command, folder, "--out", tmp_path / command, "--refine")
        assert result.returncode == 0, result.stdout + result.stderr
    fitted, replayed = (
        tmp_path / command / "localizations.arrow" for command in ("fit", "replay")
    )
    assert fitted.read_bytes() == replayed.read_bytes()
    assert read_table(fitted)[1]["refined"] == "true"
    errors = {}
    for name in (folder, tmp_path / "fit"):
        report = tmp_path / "score.json"
        result = liveloc("evaluate", name, folder / "truth.arrow", "--json", report)
        assert result.returncode == 0, result.stdout + result.stderr
        errors[name] = json.loads(report.read_text())["rmse_axial_nm"]
    assert errors[tmp_path / "fit"] < errors[folder]


def test_a_killed_engine_leaves_a_named_hole_and_a_whole_recording(
    tmp_path, free_ports
):
    settings = settings_file(tmp_path, 0, *free_ports(2))  # until it is stopped
    session = tmp_path / "session"
    session.mkdir()
    engine_arguments = ("engine", "--settings", settings, "--session", session)
    first = start(*engine_arguments, log=tmp_path / "engine1.log")
    bridge = start(
        *("bridge", settings, "--session", session, "--supervised"),
        log=tmp_path / "bridge.log",
    )
    started = [first, bridge]
    ledger = session / "processed.jsonl"

    def written():
        return len(ledger.read_bytes().splitlines()) if ledger.exists() else 0

    try:
        wait_for(lambda: written() > 5)
        first.kill()
        first.wait(5)
        before = written()
        time.sleep(0.3)
        second = start(*engine_arguments, log=tmp_path / "engine2.log")
        started.append(second)
        wait_for(lambda: written() > before + 5)
        bridge.stdin.close()
        assert second.wait(40) == 0, (tmp_path / "engine2.log").read_text()
        assert bridge.wait(10) == 0, (tmp_path / "bridge.log").read_text()
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdin.close()
    report = json.loads((session / "report.json").read_text())
    frames = report["frames"]
    assert frames["unexplained"] == 0
    camera = frames["camera"]
    assert sum(frames["lost"].values()) == camera - frames["localized"] > 0
    assert set(frames["lost"]) <= {"bridge_shed", "engine_stopped", "connection_lost"}
    with SegmentReader(session / "stream") as recording:
        assert [frame.header.seq for frame in recording] == list(range(camera))
    table, metadata = read_table(session / "localizations.arrow")
    assert metadata["complete"] == "yes"
    assert (np.diff(table["frame"]) >= 0).all()
    assert table["frame"].max() > 8 * before  # blocks of eight frames


def running_demo(tmp_path):
    """Start a long demo and wait until it localizes."""
    session = tmp_path / "session"
    process = start(
        *("demo", "--headless", "--frames", 50_000, "--size", 64),
        *("--session", session),
        log=tmp_path / "demo.log",
    )
    ledger = session / "processed.jsonl"
    wait_for(lambda: ledger.exists() and len(ledger.read_bytes().splitlines()) > 3, 30)
    return process, session


@pytest.mark.skipif(sys.platform == "win32", reason="a test cannot press Ctrl-C there")
def test_ctrl_c_ends_a_session_with_all_its_results(tmp_path):
    process, session = running_demo(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(25) == 130, (tmp_path / "demo.log").read_text()
    process.stdin.close()
    report = json.loads((session / "report.json").read_text())
    assert report["status"] == "aborted"
    assert report["frames"]["camera"] == report["frames"]["localized"] > 20
    assert report["frames"]["unexplained"] == 0
    assert report["laser"]["safe"] is True
    assert report["accuracy"]["jaccard"] > 60
    assert (session / "reconstruction.png").exists()


def test_an_alarm_of_the_bridge_reaches_terminal_report_and_exit_code(
    tmp_path, ended_well
):
    session, text = tmp_path / "session", "frames 3 to 9 were not localized"
    log = tmp_path / "run.log"
    settings = settings_file(tmp_path, frames=200, exposure_ms=30)
    process = start("run", settings, "--headless", "--session", session, log=log)
    ledger = session / "processed.jsonl"
    wait_for(lambda: ledger.exists() and ledger.read_bytes(), 30)
    with (session / "control.jsonl").open("a", encoding="utf-8") as control:
        alarm = Alarm(text=text, t_ns=time.monotonic_ns(), frames=(3, 9))
        control.write(json.dumps(alarm.line()) + "\n")
    wait_for(lambda: f"ALARM: {text}" in log.read_text(), 5)
    assert process.poll() is None, "the alarm came after the end"
    code = process.wait(40)
    assert code == ALARM and ended_well(code, session, [text])
    process.stdin.close()
    report = json.loads((session / "report.json").read_text())
    assert report["status"] == "ok"
    assert f"frames 3 to 9: {text}" in (session / "report.html").read_text()
    assert log.read_text().count(text) == 1


def test_no_process_and_no_light_outlive_a_killed_session(tmp_path):
    process, session = running_demo(tmp_path)
    process.kill()
    process.wait()
    process.stdin.close()
    ended = wait_for(lambda: (session / "bridge.json").exists(), 15)
    assert ended
    told = wait_for(lambda: (session / "bridge.json").read_text(), 5)
    assert json.loads(told)["laser"]["safe"] is True
    wait_for(lambda: (session / "report.json").exists(), 15)
    report = json.loads((session / "report.json").read_text())
    assert report["frames"]["unexplained"] == 0
    assert read_table(session / "localizations.arrow")[1]["complete"] == "yes"


def test_a_camera_that_does_not_fit_the_network_is_told_so(
    liveloc, tmp_path, free_ports
):
    movie = tmp_path / "movie.tif"
    frames = np.random.default_rng(1).poisson(200, (5, 32, 32)).astype(np.uint16)
    tifffile.imwrite(movie, frames, photometric="minisblack")
    frames_port, localizations_port = free_ports(2)
    endpoint = f"tcp://127.0.0.1:{frames_port}"
    engine = start(
        *("engine", "--out", tmp_path / "served", "--bind", endpoint),
        *("--publish", f"tcp://127.0.0.1:{localizations_port}"),
        *("--model", "simulated-microscope"),
        log=tmp_path / "engine.log",
    )
    try:
        wrong = liveloc("replay", movie, "--engine", endpoint, "--pixel-size", 160)
        assert wrong.returncode == 2
        assert "trained for 100 nm" in wrong.stderr
        assert "Traceback" not in wrong.stderr
        right = liveloc("replay", movie, "--engine", endpoint, "--pixel-size", 100)
        assert right.returncode == 0, right.stdout + right.stderr
        assert engine.poll() is None
    finally:
        engine.kill()
        engine.wait()
        engine.stdin.close()


def beginning(movie, folder):
    """Return a movie with the first frames of one that is long."""
    if movie.stat().st_size < 5e6:
        return movie
    path = folder / movie.name
    tifffile.imwrite(
        path, tifffile.imread(movie, key=range(10)), photometric="minisblack"
    )
    return path


@pytest.mark.data
@pytest.mark.parametrize(
    "movie",
    [
        "octane_eosactin_palm_a/frames.tif",
        "storm_analysis/test_bg_sub.dax",
        "pmhc_af647_real/frames.tif",
    ],
)
def test_a_real_movie_gives_the_same_table_fitted_and_replayed(
    liveloc, data, tmp_path, movie, free_ports
):
    movie = beginning(data / movie, tmp_path)
    frames_port, localizations_port = free_ports(2)
    endpoint = f"tcp://127.0.0.1:{frames_port}"
    engine = start(
        *("engine", "--session", tmp_path / "live", "--bind", endpoint),
        *("--publish", f"tcp://127.0.0.1:{localizations_port}"),
        log=tmp_path / "engine.log",
    )
    try:
        replay = liveloc("replay", movie, "--engine", endpoint)
        assert replay.returncode == 0, replay.stdout + replay.stderr
        assert engine.wait(30) == 0, (tmp_path / "engine.log").read_text()
    finally:
        engine.kill()
        engine.wait()
        engine.stdin.close()
    fit = liveloc("fit", movie, "--out", tmp_path / "fit")
    assert fit.returncode == 0, fit.stderr
    live, fitted = (tmp_path / name / "localizations.arrow" for name in ("live", "fit"))
    assert live.read_bytes() == fitted.read_bytes()
    table, _ = read_table(fitted)
    assert len(table) > 50
    for name in table.dtype.names:
        assert np.isfinite(table[name]).all(), name


@pytest.mark.data
def test_real_molecules_are_found_where_another_fitter_finds_them(
    liveloc, data, tmp_path
):
    folder = data / "pmhc_af647_real"
    fit = liveloc("fit", folder / "frames.tif", "--out", tmp_path / "fit")
    assert fit.returncode == 0, fit.stderr
    table, metadata = read_table(tmp_path / "fit" / "localizations.arrow")
    pixel = float(metadata["pixel_size_nm"])
    reference = np.genfromtxt(
        folder / "smappy_gauss_localizations.csv", delimiter=",", names=True
    )
    bright = reference[reference["photons"] > np.median(reference["photons"])]
    distances = []
    for row in bright:
        here = table[table["frame"] == row["frame"] - 1]
        x, y = here["x_nm"] / pixel, here["y_nm"] / pixel
        distances.append(np.hypot(x - row["x_px"], y - row["y_px"]).min(initial=9.0))
    found = np.array(distances)[np.array(distances) <= 1.0]
    assert len(found) >= 0.85 * len(bright)
    assert np.median(found) <= 0.25
