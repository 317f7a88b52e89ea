"""``config.toml`` in a running daemon."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

from tests.daemon.lives import config
from tests.support import PATIENCE, Daemon, Wire, wait_until

Make = Callable[..., Daemon]


def test_a_bad_configuration_is_named_and_the_daemon_starts(make_daemon: Make) -> None:
    daemon = make_daemon(config="[carrunsd]\nfsync = 'sometimes'\n\ngc_intervall_secs = 5\nmax_connections = 0\n")
    daemon.start()
    log = daemon.log()
    assert re.search(r"config\.toml:2: .*fsync", log)
    assert re.search(r"config\.toml:4: .*did you mean gc_interval_secs", log)
    assert re.search(r"config\.toml:5: .*max_connections", log)


def test_broken_retention_removes_nothing_until_mended(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = -1\n[carrunsd]\ngc_interval_secs = 1\n").start()
    assert re.search(r"config\.toml:2: .*removes nothing until the file is mended", daemon.log())
    wire = daemon.wire()
    run = wire.start(started_at="2001-01-01T00:00:00Z")
    for one in (run, wire.start()):
        wire.complete(one)
    error = wire.error("runs.gc")
    assert "config.toml" in error["message"]
    daemon.configure("[runs]\nmax_per_agent = 1\n[carrunsd]\ngc_interval_secs = 1\n")
    assert daemon.file("agent-a", run).exists()
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: not daemon.file("agent-a", run).exists(), message=daemon.log())


def test_sighup_reads_the_configuration_again(daemon: Daemon, wire: Wire) -> None:
    daemon.configure(config(max_turns_per_run=1))
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: wire.call("server.handshake")["limits"]["max_turns_per_run"] == 1)
    assert "configuration read again" in daemon.log()
    run = wire.start()
    assert wire.turns(run, "a", "b")["dropped"] == "run_turn_limit"


def test_check_config(make_daemon: Make) -> None:
    daemon = make_daemon(config="[carrunsd]\nfsync = 5\n")
    assert daemon.spawn("--check-config").wait(PATIENCE) == 78
    assert "config.toml:2" in daemon.log()
    daemon.configure("")
    assert daemon.spawn("--check-config").wait(PATIENCE) == 0
    assert not daemon.socket.exists()


def test_the_log_holds_no_contents_of_turns(daemon: Daemon, wire: Wire) -> None:
    run = wire.start(intent="a secret intent")
    wire.turns(run, "a secret prompt")
    wire.error("runs.record_turns", run_id=run, turns=[{"prompt": ["a secret mistake"]}])
    wire.send(b'{"a secret line"\n')
    wire.read()
    wire.complete(run, summary="a secret summary")
    assert daemon.stop() == 0
    assert "secret" not in daemon.log()
    for line in daemon.log().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) ", line), line
