"""Localize what another program acquires with its own core.

Start an engine in another terminal, then this:

    liveloc engine --session results --model simulated-microscope
    python docs/examples/attach.py tcp://127.0.0.1:5555

`core` stands for the `CMMCorePlus` of that program: a script, napari-micromanager,
pymmcore-gui. Here it is the simulated microscope's. Only the `with` is liveloc's; it
touches no device, no setting and no laser of the core.
"""

import sys

import useq

from liveloc.bridge import SimulatedSettings, attach, open_simulated

if __name__ == "__main__":
    microscope = open_simulated(SimulatedSettings(shape=(64, 64)))
    core, calibration = microscope.core, microscope.calibration
    plan = useq.MDASequence(time_plan={"interval": 0, "loops": 100})
    core.setProperty("Laser405", "Power_mW", 5)

    with attach(
        core, engine=sys.argv[1], pixel_size_nm=100, calibration=calibration
    ) as live:
        core.run_mda(plan)  # the other program's acquisition, as it always was

    microscope.close()
    for stream in live.streams:
        end = stream.end
        print(
            f"{end.status}: {end.sent} sent, {end.dropped} shed, {end.missing} missing"
        )
