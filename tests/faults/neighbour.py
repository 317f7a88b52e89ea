"""A bad neighbour, in a process of its own: ``python neighbour.py SOCKET KIND RUN_ID``, until it is killed.

Prints one line once it is at it.
"""

from __future__ import annotations

import json
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_FOREVER = 3600.0


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    return sock


def line(method: str, number: int | None = None, **params: object) -> bytes:
    message = {"method": method, "params": params} | ({} if number is None else {"id": number})
    return json.dumps(message).encode() + b"\n"


def at_it() -> None:
    print("at it", flush=True)


def flood(path: str, run_id: str) -> None:
    """Turns as fast as the socket takes them, with no answers wanted."""
    sock = connect(path)
    block = line("runs.record_turns", run_id=run_id, turns=[{"prompt": "x" * 100}]) * 200
    at_it()
    while True:
        sock.sendall(block)


def scatter(path: str, run_id: str) -> None:
    """Turns to a thousand runs in turn, as fast as the socket takes them."""
    sock = connect(path)
    ids = [f"{run_id}-{number}" for number in range(1000)]
    with sock.makefile("rb") as answers:
        for number, one in enumerate(ids):
            sock.sendall(line("runs.start", number, agent_id="many", intent="one of many", idempotency_key=one))
        for _ in ids:
            answers.readline()
    block = b"".join(line("runs.record_turns", run_id=one, turns=[{"prompt": "x" * 100}]) for one in ids)
    at_it()
    while True:
        sock.sendall(block)


def flood_and_ask(path: str, run_id: str) -> None:
    """Turns that want answers, which are thrown away."""
    sock = connect(path)
    block = line("runs.record_turns", 1, run_id=run_id, turns=[{"prompt": "x" * 100}]) * 200
    at_it()
    while True:
        sock.sendall(block)
        with suppress(BlockingIOError):
            while sock.recv(1 << 20, socket.MSG_DONTWAIT):
                pass


def push(socks: list[socket.socket], data: bytes) -> None:
    """Send to each what its socket takes, all the time."""
    views = {sock: memoryview(data) for sock in socks}
    for sock in socks:
        sock.setblocking(False)
    began, said = time.monotonic(), False
    while True:
        for sock in list(views):
            with suppress(BlockingIOError):
                sent = sock.send(views[sock])
                views[sock] = views[sock][sent:] or memoryview(data)
        if not said and time.monotonic() - began > 0.3:
            said = True
            at_it()
        time.sleep(0.001)


def never_reads(path: str, run_id: str) -> None:
    """Sixty connections ask for a long trace over and over, and never take an answer."""
    push([connect(path) for _ in range(60)], line("runs.get_trace", 1, run_id=run_id) * 1000)


def batches(path: str, run_id: str) -> None:
    """Arrays of a thousand long traces each."""
    request = {"id": 1, "method": "runs.get_trace", "params": {"run_id": run_id}}
    push([connect(path) for _ in range(4)], json.dumps([request] * 1000).encode() + b"\n")


def subscribers(path: str, run_id: str) -> None:
    """Sixty subscribers and watchers that never take an event, while a flood goes on."""
    socks = [connect(path) for _ in range(60)]
    for sock in socks:
        sock.sendall(line("runs.subscribe", 1, run_id=run_id) + line("runs.watch", 2))
    flood(path, run_id)


def unfinished(path: str, run_id: str) -> None:
    """Three hundred connections send a line of 15 MiB each, all but its end."""
    socks = [connect(path) for _ in range(300)]
    chunk = b'{"method":"' + b"x" * (1 << 20)
    began = time.monotonic()
    for sock in socks:
        sock.settimeout(0.05)
    for _ in range(15):
        for sock in socks:
            with suppress(TimeoutError):
                sock.send(chunk)
        if time.monotonic() - began > 4:
            break
    at_it()
    time.sleep(_FOREVER)


def connections(path: str, run_id: str) -> None:
    """A thousand connections, each with half a line."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    socks = []
    for _ in range(1000):
        sock = connect(path)
        with suppress(OSError):  # one too many: turned away
            sock.sendall(b'{"method":"server.ping"')
        socks.append(sock)
    at_it()
    time.sleep(_FOREVER)


def slow(path: str, run_id: str) -> None:
    """A hundred connections send a byte now and then."""
    socks = [connect(path) for _ in range(100)]
    text = line("server.ping", 1)
    at_it()
    for place in range(1 << 30):
        for sock in socks:
            sock.sendall(text[place % len(text) : place % len(text) + 1])
        time.sleep(0.05)


def vanishing(path: str, run_id: str) -> None:
    """Connections that ask and reset at once, again and again."""
    at_it()
    while True:
        sock = connect(path)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(line("runs.get_trace", 1, run_id=run_id) + b'{"method":')
        sock.close()


KINDS: dict[str, Callable[[str, str], None]] = {
    function.__name__: function
    for function in (
        flood, scatter, flood_and_ask, never_reads, batches, subscribers, unfinished, connections, slow, vanishing,
    )
}  # fmt: skip

if __name__ == "__main__":
    KINDS[sys.argv[2]](sys.argv[1], sys.argv[3])
