"""What must stay pure stays pure, and importing the library loads nothing it does not need."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import carruns
import carrunsd

HOME = Path(carruns.__file__).parent
PROGRAMS = {"cli", "reading", "render"}
CLAIMS = re.compile(r"\bPure\b|[Nn]o I/O")
#: By whatever word they say it, these stay so: the list is what a docstring alone could lose.
PURE = (
    "cancelling",
    "connection",
    "session",
    "outage",
    "encoding",
    "calls",
    "results",
    "fields",
    "outcome",
    "engine",
    "subscriber",
    "protocol/cut",
    "protocol/errors",
    "protocol/records",
    "protocol/failures",
    "protocol/framing",
    "protocol/messages",
    "protocol/nesting",
    "protocol/numbers",
    "protocol/times",
    "protocol/version",
)
IMPURE = {
    *("socket", "select", "selectors", "os", "io", "pathlib", "subprocess", "fcntl", "signal", "threading", "time"),
    *("asyncio", "anyio", "trio", "click", "rich"),
}


def claims_to_be_pure() -> set[str]:
    found = set()
    for path in HOME.rglob("*.py"):
        name = path.relative_to(HOME).with_suffix("").as_posix()
        if name.split("/")[0] not in PROGRAMS and CLAIMS.search(
            ast.get_docstring(ast.parse(path.read_text())) or ""
        ):
            found.add(name)
    return found


def test_every_claim_is_looked_at() -> None:
    assert claims_to_be_pure() <= set(PURE)


def imported(module: str) -> set[str]:
    tree = ast.parse((HOME / f"{module}.py").read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("module", PURE)
def test_no_io_no_clock_no_loop(module: str) -> None:
    assert not imported(module) & IMPURE


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_loads_nothing() -> None:
    extra = loaded_by("import carruns") - loaded_by("")
    assert not extra & {
        "msgspec",
        "anyio",
        "asyncio",
        "socket",
        "threading",
        "click",
        "rich",
        "uvloop",
        "subprocess",
    }
    assert {name for name in extra if name.startswith("carruns.")} == set()


def test_the_sync_client_loads_no_event_loop() -> None:
    extra = loaded_by("from carruns import Client; Client")
    assert not extra & {"anyio", "asyncio", "click", "rich", "uvloop", "subprocess", "trio"}


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_loads_no_socket(module: str) -> None:
    assert not loaded_by(f"import carruns.{module.replace('/', '.')}") & {
        "socket",
        "asyncio",
        "anyio",
        "threading",
        "subprocess",
    }


def test_every_public_name_is_there() -> None:
    for name in carruns.__all__:
        assert getattr(carruns, name).__name__ == name
    assert set(carruns.__all__) < set(dir(carruns))
    with pytest.raises(AttributeError):
        _ = carruns.nothing


def test_there_is_one_version() -> None:
    assert carruns.__version__ == carrunsd.__version__ == metadata.version("carrunsd")
