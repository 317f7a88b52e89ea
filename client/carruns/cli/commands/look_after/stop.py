"""``carruns stop`` and ``carruns restart``: the daemon, whoever started it."""

from __future__ import annotations

import click

from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.reading.probe import lock_holder


@click.command(cls=Command, epilog=examples("carruns stop\ncarruns --car-dir /tmp/other stop"))
@pass_settings
def stop(settings: Settings) -> None:
    """Stop the daemon of the car directory.

    It finishes what it has received first.  The next program that records starts one again; so does systemd where
    its socket unit listens.
    """
    from carruns.cli import daemon_process, service_units
    from carruns.cli import service_systemctl as systemctl

    pid = lock_holder(settings.car_dir) or 0
    socket_listens = False
    if pid and daemon_process.kept_by_systemd(pid):
        systemctl.tell("stop", service_units.SERVICE)
        socket_listens = systemctl.active(service_units.SOCKET)
    else:
        pid = daemon_process.stop(settings.car_dir)
    if settings.json:
        print_json({"stopped": bool(pid), "pid": pid or None})
        return
    settings.screen.print(f"stopped process {pid}" if pid else "no daemon was running")
    if socket_listens:
        also = "systemctl --user stop carrunsd.socket"
        settings.screen.print(f"its socket unit still listens and starts it for the next client; {also} ends that")


@click.command(cls=Command, epilog=examples("carruns restart              after an update, for one"))
@pass_settings
def restart(settings: Settings) -> None:
    """Stop the daemon of the car directory and start it anew; start one if none runs.

    Runs in progress go on: their agents connect again by themselves.
    """
    from carruns.cli import daemon_process, service_units
    from carruns.cli import service_systemctl as systemctl

    pid = lock_holder(settings.car_dir) or 0
    if pid and daemon_process.kept_by_systemd(pid):
        systemctl.tell("restart", service_units.SERVICE)
    else:
        daemon_process.stop(settings.car_dir)
    with settings.client(autostart=True) as client:
        new = int(client.handshake().get("pid") or 0)
    if settings.json:
        print_json({"pid": new, "stopped": pid or None})
    else:
        settings.screen.print(f"carrunsd runs as process {new}" + (f" instead of {pid}" if pid else ""))
