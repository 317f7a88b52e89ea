"""The rules of the house (docs/architecture.md), proved by what the files import and say of themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DAEMON, CLIENT = ROOT / "carrunsd", ROOT / "client" / "carruns"

#: From the roof down: each knows only the floors below it.  What is on one floor may know each other.
DAEMON_FLOORS = (
    {"__main__"},
    {"daemon"},
    {"background"},
    {"connections"},
    {"methods"},
    {"upkeep"},
    {"core"},
    {"runs"},
    {"writing"},
    {"feed", "long_questions"},
    {"wire"},
    {"run"},
    {"config"},
    {"store"},
    {"host", "stats"},
)
PROGRAMS = {"cli"}
CLIENT_FLOORS = (
    PROGRAMS,
    {"reading"},
    {"render"},
    {"aio"},
    {"sync"},
    {"*"},
    {"protocol"},
)  # `*`: the library's files
IMPURE = {
    "anyio", "asyncio", "click", "fcntl", "os", "select", "selectors", "signal", "socket", "subprocess",
    "threading", "time", "trio", "uvloop",
}  # fmt: skip
MAX_LINES, MAX_FILES = 400, 20


def sources(*tops: Path) -> list[Path]:
    return sorted(path for top in tops for path in top.rglob("*.py") if "__pycache__" not in path.parts)


def module_of(path: Path) -> str:
    parts = path.relative_to(CLIENT.parent if CLIENT in path.parents else ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports, dotted, wherever in it: inside functions and for type checkers only, too."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            for alias in node.names:
                inner = f"{home}.{alias.name}"
                yield inner if _is_module(inner) else home


def _is_module(dotted: str) -> bool:
    base = CLIENT.parent if dotted.startswith("carruns.") else ROOT
    path = base.joinpath(*dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def top_of(dotted: str) -> str:
    """Return the folder or file right below the package: ``wire`` of ``carrunsd.wire.cut``."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def says_pure(path: Path) -> bool:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return re.search(r"\bPure\b|\bpure\b|No I/O", text) is not None


@pytest.mark.parametrize(("top", "floors"), [(DAEMON, DAEMON_FLOORS), (CLIENT, CLIENT_FLOORS)])
def test_no_import_goes_upward(top: Path, floors: tuple[set[str], ...]) -> None:
    def floor_of(dotted: str) -> int:
        known = {name: number for number, names in enumerate(floors) for name in names}
        return known.get(top_of(dotted), known.get("*", len(floors)))

    wrong = [
        f"{path.relative_to(ROOT)} imports {what}"
        for path in sources(top)
        for what in imports(path)
        if what.startswith(f"{top.name}.") and path != top / "__init__.py"  # it hands out names of every floor
        if floor_of(what) < floor_of(module_of(path))
    ]
    assert not wrong


def test_every_part_of_the_daemon_has_a_floor() -> None:
    parts = {path.stem for path in DAEMON.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == set().union(*DAEMON_FLOORS)


def test_the_library_does_not_know_the_daemon() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {what}"
        for path in sources(CLIENT)
        for what in imports(path)
        if what.split(".")[0] == "carrunsd"
        and not (
            top_of(module_of(path)) in {*PROGRAMS, "reading"}
            and (what == "carrunsd.config" or what.startswith("carrunsd.store"))
        )
    ]
    assert not wrong


def test_the_daemon_knows_of_the_library_what_both_ends_share() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {what}"
        for path in sources(DAEMON)
        for what in imports(path)
        if what.split(".")[0] == "carruns" and top_of(what) != "protocol"
    ]
    assert not wrong


@pytest.mark.parametrize(
    "path",
    [path for path in sources(DAEMON, CLIENT) if says_pure(path) or path.parent == CLIENT / "render"],
    ids=module_of,
)
def test_what_says_it_is_pure_is(path: Path) -> None:
    assert not {what.split(".")[0] for what in imports(path)} & IMPURE


def test_files_and_folders_stay_small() -> None:
    python = [path for top in ("carrunsd", "client", "tests", "benchmarks") for path in sources(ROOT / top)]
    assert not {str(path): n for path in python if (n := path.read_text().count("\n")) > MAX_LINES}
    folders = {path.parent for path in python}
    many = {str(folder): n for folder in folders if (n := len(list(folder.glob("*.py")))) > MAX_FILES + 1}
    assert not many  # `__init__.py` comes on top


def test_what_the_pages_name_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert page.count("\n") <= 120
    named = set(re.findall(r"`((?:carrunsd|client|tests|docs|systemd|benchmarks)/[\w./]+)`", page))
    assert len(named) > 40
    assert not [name for name in named if not (ROOT / name).exists()]
    for name, function in re.findall(r"`((?:carrunsd|client)/[\w./]+\.py)` `(\w+)`", page):
        assert re.search(rf"\b(?:def|class) {function}\b|^{function}\b", (ROOT / name).read_text(), re.MULTILINE), (
            name,
            function,
        )


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_source_file_that_a_page_names_is_there(page: Path) -> None:
    places = [
        path.relative_to(ROOT).as_posix()
        for path in sources(ROOT / "carrunsd", CLIENT, ROOT / "tests", ROOT / "benchmarks")
    ]
    named = set(re.findall(r"`([\w./]+\.py)`", page.read_text()))
    assert not [name for name in named if not any(f"/{place}".endswith(f"/{name}") for place in places)]


def test_no_page_or_comment_points_outside_the_repository() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *sources(DAEMON, CLIENT, ROOT / "tests")]
    wrong = [str(path) for path in pages if re.search(r"\bSPEC\b", path.read_text()) and path != Path(__file__)]
    assert not wrong
    for page in (path for path in pages if path.suffix == ".md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
