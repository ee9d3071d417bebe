"""Ports of a session: free ones, which stay its own."""

import socket
import sys

import pytest

from liveloc.stream.sockets.ports import ReservedPorts
from liveloc.stream.transport.receiver import FrameReceiver


def test_what_is_given_stays_and_the_rest_is_filled_with_different_ports():
    ports = ReservedPorts("tcp://127.0.0.1:5999", None, "tcp://127.0.0.1:0", None)
    ports.close()
    given, *free = ports.endpoints
    assert given == "tcp://127.0.0.1:5999"
    numbers = {int(endpoint.rpartition(":")[2]) for endpoint in free}
    assert len(numbers) == 3 and 0 not in numbers


def test_an_engine_can_bind_a_reserved_port_and_again():
    ports = ReservedPorts(None)
    for _ in range(2):
        with FrameReceiver(ports.endpoints[0]) as receiver:
            assert receiver.endpoint == ports.endpoints[0]
    ports.close()


@pytest.mark.skipif(sys.platform != "linux", reason="ports stay reserved on Linux only")
def test_no_other_program_gets_a_reserved_port_by_chance():
    ports = [ReservedPorts(None, None) for _ in range(200)]
    taken = [endpoint for one in ports for endpoint in one.endpoints]
    probes = [socket.socket() for _ in range(400)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
        taken.append(f"tcp://127.0.0.1:{probe.getsockname()[1]}")
    for held in (*probes, *ports):
        held.close()
    assert len(set(taken)) == len(taken) == 800
