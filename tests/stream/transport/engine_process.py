"""A small engine for tests that kill it: ``engine_process.py ENDPOINT LEDGER``.

Prints its endpoint, then one JSON object per event. Every frame counts as
localized when the ledger says so.
"""

import json
import sys
import time
from pathlib import Path

from liveloc.stream.tables.ledger import ProcessedLog
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver, Opened


def tell(**fields: object) -> None:
    """Print one line that is there at once."""
    print(json.dumps(fields), flush=True)


def main(endpoint: str, ledger: str, ring_frames: str, pause_s: str) -> None:
    """Receive one stream to its end."""
    log = ProcessedLog(Path(ledger))
    with (
        log,
        FrameReceiver(
            endpoint, ring_frames=int(ring_frames), resume=log.resume
        ) as receiver,
    ):
        tell(endpoint=receiver.endpoint)
        while True:
            event = receiver.next(16, 1.0)
            if isinstance(event, Opened):
                stream_id = event.start.stream_id
                tell(resumed_at=event.resumed_at)
            elif isinstance(event, Arrived):
                time.sleep(float(pause_s))
                for header, pixels in zip(event.headers, event.pixels, strict=True):
                    if not (pixels == header.seq % 65_536).all():
                        raise AssertionError(f"frame {header.seq} is not itself")
                first, last = event.headers[0].seq, event.headers[-1].seq
                receiver.localized(len(event.headers))
                log.append(stream_id, first, last, receiver.checkpoint(last))
                receiver.settle(last)
            elif isinstance(event, Closed):
                log.end(event.end)
                tell(balance=receiver.balance.as_dict(), status=event.end.status)
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
