"""``python -m benchmarks``: run the cases, show the figures, write them down."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks import host, picture, report
from benchmarks.bench import Bench
from benchmarks.measure import Result
from benchmarks.suite import CASES

HERE = Path(__file__).parent


def main() -> int:
    """Run the suite; the exit status says whether it ran, never how fast."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 160)
    names = options.only or list(CASES)
    for variable in ("CAR_HOME", "CARRUNSD_SOCKET", "NOTIFY_SOCKET", "LISTEN_FDS"):
        os.environ.pop(variable, None)
    home = Path(tempfile.mkdtemp(prefix="carrunsd-bench-", dir=options.dir))
    facts = host.facts(home)
    loads = [host.load()]
    begin = time.monotonic()
    results: list[Result] = []
    try:
        with Bench(home, quick=options.quick, repeat=options.repeat) as bench:
            for name in names:
                results.append(CASES[name](bench))
                loads.append(host.load())
                report.show(results[-1], console)
            remarks = [
                f"rounds: {bench.rounds}{', quick: sizes too small to judge' if bench.quick else ''}",
                f"took {time.monotonic() - begin:.0f} s",
                f"load averages, at the start and after each case: {'; '.join(loads)}",
                *(f"missing: {why}" for why in bench.missing),
            ]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for line in (*(f"{key}: {value}" for key, value in facts.items()), *remarks):
        console.print(line)
    _write(options, results, facts, remarks, whole=len(names) == len(CASES))
    return 0


def _write(
    options: argparse.Namespace, results: list[Result], facts: dict[str, str], remarks: list[str], *, whole: bool
) -> None:
    """Write the page and the picture: where asked, or in place after a whole run that is not a quick one."""
    if options.out is None and (options.quick or not whole):
        return
    page = options.out or HERE / "RESULTS.md"
    page.write_text(report.markdown(results, facts, remarks))
    page.with_name("results.svg").write_text(picture.svg(results))
    print(f"written: {page}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does the suite still run?")
    parser.add_argument("--only", action="append", choices=CASES, metavar="NAME", help=f"of {', '.join(CASES)}")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds (default: 5, quick 1)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page here, results.svg beside it")
    parser.add_argument("--dir", metavar="DIR", help="where the temporary files go (default: as tempfile says)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
