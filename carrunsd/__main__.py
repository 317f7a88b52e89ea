"""``carrunsd``: the command line of the daemon."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator

from carruns.protocol import paths
from carrunsd import __version__, config, daemon
from carrunsd.host import logs

log = logging.getLogger("carrunsd")

EXIT_TEMPFAIL = 75  # sysexits.h: another daemon has the car directory
EXIT_CONFIG = 78  # sysexits.h: --check-config found something
EXIT_CANTCREAT = 73  # sysexits.h: directory, lock or socket cannot be had


def main(argv: list[str] | None = None) -> int:
    """Run the daemon; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        car_dir = str(paths.car_dir(arguments.car_dir))
        socket_path = str(paths.socket_path(paths.car_dir(arguments.car_dir), arguments.socket))
    except paths.NoHomeError as error:
        print(f"carrunsd: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_CANTCREAT
    if arguments.check_config:
        return _check_config(os.path.join(car_dir, paths.CONFIG_NAME))
    logs.set_up(arguments.log_level)
    return _serve(car_dir, socket_path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="carrunsd",
        description="Keeps the runs of AI agents: owns <car dir>/runs and takes turns over a Unix socket.",
        epilog="SIGTERM and SIGINT finish what was received and stop; SIGHUP reads config.toml again.",
    )
    parser.add_argument("--car-dir", metavar="DIR", help="the car directory (default: $CAR_HOME, else ~/.car)")
    parser.add_argument(
        "--socket", metavar="PATH", help="the socket (default: $CARRUNSD_SOCKET, else DIR/carrunsd.sock)"
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="default: info"
    )
    parser.add_argument("--check-config", action="store_true", help="say what is wrong with config.toml and exit")
    parser.add_argument("--version", action="version", version=f"carrunsd {__version__}")
    return parser


def _check_config(path: str) -> int:
    loaded = config.load(path)
    for problem in loaded.problems:
        print(problem, file=sys.stderr)  # noqa: T201
    if loaded.problems:
        return EXIT_CONFIG
    print(f"{path}: {'good' if os.path.exists(path) else 'missing, the defaults hold'}")  # noqa: T201
    return 0


def _serve(car_dir: str, socket_path: str) -> int:
    import anyio

    from carrunsd.host import inherited
    from carrunsd.store import lock

    inherited.shed()
    options = daemon.Options(car_dir, socket_path)

    def load() -> config.Config:
        loaded = config.load(options.config_path)
        for problem in loaded.problems:
            log.error("%s", problem)
        return loaded

    os.umask(0o077)
    one = daemon.Daemon(options, load)
    signal.signal(signal.SIGTERM, _leave_early)  # until the daemon listens for it
    try:
        try:
            with _later(signal.SIGTERM):
                one.take_places()
        except lock.AlreadyRunningError as error:
            log.error("%s", error)
            return EXIT_TEMPFAIL
        except OSError as error:
            log.error("cannot start: %s", error)
            return EXIT_CANTCREAT
        _tune_collector()
        anyio.run(one.run, backend="asyncio", backend_options={"use_uvloop": True})
    finally:
        one.leave()
    return 0


@contextlib.contextmanager
def _later(number: signal.Signals) -> Iterator[None]:
    """Put a signal off: what is half taken could not be let go of."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def _leave_early(number: int, frame: object) -> None:
    """SIGTERM before anything was received: there is nothing to finish."""
    sys.exit(0)


def _tune_collector() -> None:
    """Memory is kept while there is work, and collected less often.

    What is imported stays; a block of turns makes some thousand containers that die without cycles.
    """
    import gc

    from carrunsd.host import memory

    memory.keep_heap()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


if __name__ == "__main__":
    sys.exit(main())
