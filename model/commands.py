"""The commands engine, evaluate, train and calibrate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from liveloc.stream.balance import UNEXPLAINED, exit_code
from liveloc.stream.console.options import (
    CameraPath,
    JsonFile,
    Model,
    Refine,
    SessionPath,
    Supervised,
    given_camera,
    session_folder,
    settings_from,
)
from liveloc.stream.console.terminal import (
    reading_bar,
    say,
    show,
    summary,
    training_bar,
    waiting,
)
from liveloc.stream.errors import SettingsError
from liveloc.stream.files.session_folder import SessionFolder, make_folder
from liveloc.stream.pixel_size import check_pixel_size
from liveloc.stream.session.processes import stop_event
from liveloc.stream.sockets.session_key import FRAMES_KEY, VIEWING_KEY, SessionKey

END_GRACE_S = 2.0  # for the bridge, which is asked to stop at the same time

calibrate = typer.Typer(
    no_args_is_help=True, help="Measure the camera and the PSF of a microscope."
)


def engine(
    settings_path: Annotated[
        Path | None, typer.Option("--settings", help="Session settings (YAML).")
    ] = None,
    session: SessionPath = None,
    keep: Annotated[
        Path | None,
        typer.Option("--out", help="Parent folder, for one stream after another."),
    ] = None,
    bind: Annotated[
        str | None, typer.Option(help="Address to receive frames at.")
    ] = None,
    publish: Annotated[str | None, typer.Option(help="Address to publish at.")] = None,
    model: Model = None,
    refine: Refine = None,
    provider: Annotated[str | None, typer.Option(help="cpu, cuda or tensorrt.")] = None,
    supervised: Supervised = False,
) -> None:
    """Localize the frames that a bridge or a replay sends.

    Example: liveloc engine --session results --model gaussian-2d
    """
    from .engine import Engine

    if settings_path is None and session and SessionFolder(session).settings.exists():
        settings_path = session
    settings = settings_from(settings_path).changed(
        stream__frames_endpoint=bind,
        stream__localizations_endpoint=publish,
        engine__model=model,
        engine__refine=refine,
        engine__provider=provider,
    )
    root = keep or session_folder(session)
    stop = stop_event(supervised)
    with Engine(
        settings,
        lambda start: root / start.stream_id.hex()[:12] if keep else root,
        frames_key=SessionKey.from_environment(FRAMES_KEY),
        viewing_key=SessionKey.from_environment(VIEWING_KEY),
    ) as running:
        frames_at, localizations_at = running.endpoints
        say(f"frames in at {frames_at}, localizations out at {localizations_at}")
        report = running.run(
            stop, streams=0 if keep else 1, grace_s=END_GRACE_S if supervised else 0.0
        )
    if report is not None:
        say(summary(report))
        code = exit_code(report)
        # How a stream ended is the session's to judge; it would start this process
        # again after a failure of its own.
        raise typer.Exit(0 if supervised and code != UNEXPLAINED else code)


def evaluate(
    table: Annotated[Path, typer.Argument(help="Table to score.")],
    truth: Annotated[Path, typer.Argument(help="Table of true emitters.")],
    border: Annotated[
        float, typer.Option(min=0, help="Margin to leave out, nm; challenge: 450.")
    ] = 0.0,
    planar: Annotated[
        bool, typer.Option("--2d", help="Ignore z when matching.")
    ] = False,
    pixel_size: Annotated[
        float | None, typer.Option(help="Camera pixel size, nm, if the tables lack it.")
    ] = None,
    photon_quantile: Annotated[
        float,
        typer.Option(
            min=0, max=0.99, help="Fraction of dim emitters to ignore; challenge: 0.25."
        ),
    ] = 0.0,
    wobble: Annotated[
        Path | None,
        typer.Option(help="Wobble correction: PSF file or table of dx, dy, z, nm."),
    ] = None,
    psf: Annotated[
        Path | None, typer.Option(help="PSF file for the Cramér-Rao limits.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model whose PSF sets the limits.")
    ] = None,
    camera: Annotated[
        Path | None,
        typer.Option(help="Camera file, if the table does not include one."),
    ] = None,
    overlap: Annotated[
        bool,
        typer.Option("--overlap", help="Include overlapping neighbours in the limits."),
    ] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for figures.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Score a table against the truth as in the SMLM challenge.

    Greedy nearest-neighbour matching within 250 nm laterally, 500 nm axially; with
    a PSF also errors over the Cramér-Rao limit.

    Example: liveloc evaluate localizations.arrow truth.csv --border 450
    --model simulated-microscope --plots figures
    """
    from .evaluation.imaging import imaging_for
    from .evaluation.inputs import read_inputs
    from .evaluation.matching import AXIAL_NM, Rule
    from .evaluation.plots import write_plots
    from .evaluation.report import assess
    from .evaluation.tables import tables
    from .evaluation.wobble import read_wobble

    axial_nm = None if planar else AXIAL_NM
    inputs = read_inputs(table, truth, pixel_size, axial_nm)
    for remark in inputs.remarks:
        say(remark)
    rule = Rule(
        border_nm=border,
        axial_nm=axial_nm,
        photon_quantile=photon_quantile,
        wobble=read_wobble(wobble) if wobble else None,
    )
    metadata = inputs.metadata
    imaging = imaging_for(psf, model, camera, metadata, overlap=overlap)
    result = assess(inputs.table, inputs.truth, rule, metadata, imaging=imaging)
    say(result.rule_in_words)
    show(tables(result))
    for path in write_plots(result, plots) if plots else []:
        say(f"wrote {path}")
    if json_file:
        json_file.write_text(json.dumps(result.as_dict(), indent=1), encoding="utf-8")


def train(
    config: Annotated[
        str, typer.Argument(help="Training configuration (YAML) or shipped name.")
    ],
    folder: Annotated[Path | None, typer.Option("--out", help="Output folder.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Duration in minutes, instead of steps."),
    ] = None,
) -> None:
    """Train a network on simulated movies and write its bundle.

    An interrupted training resumes when started again with the same --out.

    Example: liveloc train simulated-microscope --out runs/sim
    """
    try:
        from .training.trainer import choose_device, train_bundle
    except ImportError:
        raise SettingsError(
            "training needs torch: pip install 'liveloc[train]'. A CUDA build comes "
            "from PyTorch's own index, see docs/training.md."
        ) from None
    from .bundle import SHIPPED
    from .training_config import TrainingConfig

    shipped = SHIPPED / f"{config}.yaml"
    path = shipped if shipped.exists() and not Path(config).exists() else Path(config)
    settings = TrainingConfig.load(path)
    chosen = choose_device(device)
    target = folder or Path("runs") / settings.name
    make_folder(target)
    length = f"{minutes:g} minutes" if minutes else f"{settings.schedule.steps} steps"
    say(f"training {settings.name} ({settings.preset}) on {chosen}: {length}")
    with training_bar() as report:
        bundle = train_bundle(settings, chosen, target, report, minutes)
    say(f"wrote {bundle}")


@calibrate.command("camera")
def calibrate_camera_file(
    dark: Annotated[Path, typer.Option(help="Stack of dark frames.")],
    light: Annotated[
        list[Path], typer.Option(help="Evenly lit frames, one stack per level.")
    ],
    file: Annotated[Path, typer.Option("--out", help="Camera file to write.")],
    more_light: Annotated[
        list[Path] | None, typer.Argument(metavar="LIGHT", help="More --light stacks.")
    ] = None,
    em_gain: Annotated[float, typer.Option(min=1, help="EM gain.")] = 1.0,
    qe: Annotated[float, typer.Option(help="Quantum efficiency.")] = 1.0,
    saturation: Annotated[
        float | None, typer.Option(min=1, help="Saturation level, ADU.")
    ] = None,
    maps: Annotated[
        bool, typer.Option(help="Write per-pixel maps if there are enough frames.")
    ] = True,
    name: Annotated[
        str, typer.Option(help="Name of the camera and readout mode.")
    ] = "",
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size, nm.")] = None,
) -> None:
    """Measure offset, gain and read noise from dark and lit frames.

    A stack is any movie: .tif, .dax or a recording of 'liveloc record'. docs/camera.md
    describes how to record them.

    Example: liveloc calibrate camera --dark dark.tif --light l1.tif l2.tif l3.tif
    --qe 0.82 --out camera.yaml
    """
    from liveloc.stream.camera_file import save_camera

    from .calibration.camera.calibration import calibrate_camera, describe_camera

    if file.exists():
        raise SettingsError(
            f"{file} exists and is not overwritten. Give another --out."
        )
    if pixel_size is not None:
        check_pixel_size(pixel_size, "--pixel-size")
    if not 0 < qe <= 1:
        raise SettingsError(f"--qe is {qe}: needs a number above 0 and up to 1.")
    with reading_bar() as advance:
        measured = calibrate_camera(
            dark,
            [*light, *(more_light or [])],
            em_gain=em_gain,
            qe=qe,
            saturation_adu=saturation,
            maps=maps,
            name=name,
            pixel_size_nm=pixel_size,
            progress=advance,
        )
    save_camera(file, measured)
    say(describe_camera(measured))
    maps_file = (
        f" and {file.with_suffix('.npz')}" if measured.calibration.has_maps else ""
    )
    say(f"wrote {file}{maps_file}")


@calibrate.command("optics")
def calibrate_from_optics(
    description: Annotated[Path, typer.Argument(help="Optics, as a YAML file.")],
    file: Annotated[Path, typer.Option("--out", help="PSF file to write.")],
) -> None:
    """Compute a PSF from the optics of a microscope, where there are no beads.

    For 2D imaging, engineered masks of known shape such as tetrapods, and deep
    samples. docs/optics.md describes the file.

    Example: liveloc calibrate optics tetrapod.yaml --out tetrapod
    """
    from .physics.psf_file import SUFFIX, save_psf
    from .physics.pupil import Optics, optical_psf

    file = file.with_name(file.name.removesuffix(SUFFIX) + SUFFIX)
    if file.exists():
        raise SettingsError(
            f"{file} exists and is not overwritten. Give another --out."
        )
    optics = Optics.load(description)
    psf = optical_psf(optics)
    save_psf(file, psf, {"source": "optics", "optics": optics.model_dump(mode="json")})
    low, high = psf.z_low_nm, psf.z_high_nm
    say(f"wrote {file}: {optics.window_px} px wide, z from {low:.0f} to {high:.0f} nm")


@calibrate.command("psf")
def calibrate_psf_file(
    beads: Annotated[Path, typer.Argument(help="Bead stack: .tif, .dax, recording.")],
    pixel_size: Annotated[float, typer.Option(help="Pixel size, nm.")],
    z_step: Annotated[
        float, typer.Option(help="Plane spacing, nm; negative if z decreases.")
    ],
    file: Annotated[Path, typer.Option("--out", help="NAME.psf.npz to write.")],
    camera: CameraPath = None,
    offset: Annotated[float | None, typer.Option(help="Camera offset, ADU.")] = None,
    gain: Annotated[float | None, typer.Option(help="Electrons per ADU.")] = None,
    em_gain: Annotated[float, typer.Option(min=1, help="EM gain.")] = 1.0,
    qe: Annotated[float, typer.Option(help="Quantum efficiency.")] = 1.0,
    read_noise: Annotated[
        float, typer.Option(min=0, help="Read noise, electrons, after EM gain.")
    ] = 1.6,
    z_start: Annotated[
        float | None, typer.Option(help="z of the first plane, nm.")
    ] = None,
    positions: Annotated[
        Path | None, typer.Option(help="Table of true positions: x_nm and y_nm.")
    ] = None,
    bead_photons: Annotated[
        float | None, typer.Option(min=1, help="Photons per bead and plane, if known.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=7, help="Edge of the fitted square, px.")
    ] = None,
    min_distance: Annotated[
        float | None, typer.Option(min=1, help="Minimum spacing of beads, px.")
    ] = None,
    knots: Annotated[
        float | None, typer.Option(min=5, help="Spacing of the knots along z, nm.")
    ] = None,
    background: Annotated[
        str,
        typer.Option(help="One level per 'bead', one per 'plane' of each, or 'none'."),
    ] = "bead",
    jitter: Annotated[
        bool, typer.Option(help="Fit jitter of stage and lamp, plane by plane.")
    ] = True,
    json_file: JsonFile = None,
) -> None:
    """Measure the PSF from a stack of beads.

    Finds the beads, fits shape, positions and intensities together, and writes the
    PSF and a picture of the fit. The PSF may have any shape: see docs/psf.md.

    Example: liveloc calibrate psf beads.tif --pixel-size 100 --z-step 10
    --camera camera.yaml --out mine.psf.npz
    """
    from .calibration.psf.calibration import BeadSettings
    from .calibration.psf.from_disk import calibrate_psf_from

    given, _ = given_camera(camera, offset, gain)
    if given is not None and camera is None and 0 < qe <= 1:
        given = replace(given, em_gain=em_gain, qe=qe, read_noise_e=read_noise)
    elif (em_gain, qe, read_noise) != (1.0, 1.0, 1.6):
        raise SettingsError(
            "--em-gain, --qe (above 0, up to 1) and --read-noise go with --offset and "
            "--gain, not with --camera."
        )
    settings = BeadSettings(
        pixel_size_nm=pixel_size,
        z_step_nm=z_step,
        z_start_nm=z_start,
        camera=given,
        bead_photons=bead_photons,
        window_px=window,
        min_distance_px=min_distance,
        knots_nm=knots,
        background=background,  # type: ignore[arg-type]
        jitter=jitter,
    )
    with waiting("fitting the PSF") as update:
        done = calibrate_psf_from(
            beads, settings, file, positions, lambda n, c: update(f"round {n + 1}")
        )
    say(done.text)
    say(f"wrote {done.psf} and {done.picture}")
    if json_file:
        json_file.write_text(json.dumps(done.metadata, indent=1), encoding="utf-8")
