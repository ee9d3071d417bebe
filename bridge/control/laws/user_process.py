"""The process in which a user's own control function runs. Standard library only.

Run as a script. Takes readings as lines of JSON on standard input and answers each with
a line on standard output. It ends when its standard input does, also from within an
endless loop, so that it never outlives the bridge.
"""

import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Load ``control`` from the file named on the command line, and answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what the user prints goes to the log, not between the answers
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        control = _load(Path(sys.argv[1]))
    except BaseException as error:
        _say(answers, {"failed": _explain(error)})
        return
    _say(answers, {"ready": True})
    while True:
        stats = json.loads(lines.get())
        number = stats.pop("number")
        try:
            value = control(stats)
            power = None if value is None else float(value)
        except Exception as error:
            _say(answers, {"number": number, "error": _explain(error)})
        else:
            _say(answers, {"number": number, "power": power})


def _listen(lines: "queue.SimpleQueue[str]") -> None:
    """Take readings in; end the process at the end of the input, whatever it does."""
    with os.fdopen(os.dup(0), "r", encoding="utf-8") as readings:
        for line in readings:
            lines.put(line)
    _end()


def _end() -> None:
    """End this process and what the user's file has started."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(os.getpid())], check=False)
    else:
        os.killpg(0, signal.SIGKILL)  # the bridge gave it a group of its own
    os._exit(0)


def _load(path: Path) -> Any:
    """Import the user's file; modules beside it are found."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("user_control", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    control = getattr(module, "control", None)
    if not callable(control):
        raise ImportError(f"{path.name} has no function control(stats)")
    return control


def _say(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _explain(error: BaseException) -> str:
    """Return what went wrong and where in the user's file, in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).name != Path(__file__).name
        and "importlib" not in frame.filename
    ]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return text[:500] + where


if __name__ == "__main__":
    main()
