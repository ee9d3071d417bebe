"""CPU time per frame from camera counts to localizations, and what takes it.

python tests/benchmarks/bench_inference.py --side 128 --threads 1
"""

import argparse
import json
import time

import numpy as np

from liveloc.model.backend import OnnxBackend
from liveloc.model.bundle import load_bundle
from liveloc.model.localizer import Localizer
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import AstigmaticPSF
from liveloc.stream.calibration import CameraCalibration

DENSITY_PER_UM2 = 0.2


class TimedBackend:
    """Counts the CPU time that the network takes."""

    name = "timed"

    def __init__(self, backend):
        self._backend, self.seconds = backend, 0.0

    def features(self, photons, read_variance=None):
        return self._timed(self._backend.features, photons, read_variance)

    def maps(self, windows):
        return self._timed(self._backend.maps, windows)

    def _timed(self, function, *arguments):
        began = time.process_time()
        result = function(*arguments)
        self.seconds += time.process_time() - began
        return result


def movie(side, calibration):
    rng = np.random.default_rng(1)
    psf = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)
    emitters = max(1, round(DENSITY_PER_UM2 * (side / 10) ** 2))
    frames = []
    for _ in range(40):
        x, y = rng.uniform(0, side - 1, (2, emitters)).astype(np.float32)
        z = rng.uniform(-350, 350, emitters).astype(np.float32)
        photons = np.full(emitters, 2500, np.float32)
        mean = psf.render(x, y, z, photons, (side, side)) + 10
        counts = expose(mean, calibration, NumpyNoise(rng))
        frames.append(counts.astype(np.uint16))
    return frames


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="simulated-microscope")
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--frames", type=int, default=400)
    args = parser.parse_args()
    bundle = load_bundle(args.model, refine=args.refine)
    calibration = CameraCalibration(offset_adu=100, e_per_adu=0.5)
    frames = movie(args.side, calibration)
    backend = TimedBackend(OnnxBackend(bundle, threads=args.threads))
    localizer = Localizer.of(
        bundle, backend, calibration, shape=(args.side, args.side), pixel_size_nm=100
    )
    for seq in range(20):
        localizer.feed([seq], [frames[seq % 40]])
    backend.seconds, cpu, wall = 0.0, time.process_time(), time.perf_counter()
    for seq in range(20, 20 + args.frames):
        localizer.feed([seq], [frames[seq % 40]])
    cpu = (time.process_time() - cpu) / args.frames
    wall = (time.perf_counter() - wall) / args.frames
    result = {
        "frames_per_core_s": round(1 / cpu, 1),
        "frames_per_s": round(1 / wall, 1),
        "cpu_ms": round(cpu * 1e3, 2),
        "of_which_network_ms": round(backend.seconds / args.frames * 1e3, 2),
        "kflop_per_px": round(bundle.spec.kflop_per_px, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
