"""The rooms of the code and their order: imports point down only, and never in a circle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from conftest import SOURCE

#: From the ground up. A room may import from the rows above its own in this table, and from no other room.
#: ARCHITECTURE.md has the same table, with what each room is for.
ORDER = (
    ("plain",),  # the files that lie in luna/ itself
    ("repo", "conversations", "model", "promotion"),
    ("storage", "training", "answering", "importing"),
    ("history", "export", "evals"),
    ("bundle", "stages"),
    ("operations",),
    ("audit", "forensics", "sharing", "host"),
    ("doctor", "studio"),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
#: They only pass a call on: 'from luna import age_up', and 'python -m luna'.
DOORS = {"luna", "luna.__main__"}


def _modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    modules = {}
    for package in ("luna", "stages", "evals"):
        for path in (SOURCE / package).rglob("*.py"):
            parts = path.relative_to(SOURCE).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """The project's own modules that a file imports, wherever in it; not those for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in types_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in modules else node.module)
    return names & modules.keys()


def _room(module: str) -> str:
    parts = module.split(".")
    if parts[0] != "luna":
        return parts[0]
    return parts[1] if (SOURCE / "luna" / parts[1]).is_dir() else "plain"


MODULES = _modules()
ARROWS = {name: _imports(path, MODULES) for name, path in MODULES.items() if name not in DOORS}


def test_every_room_has_its_row():
    assert {_room(name) for name in ARROWS} == LEVEL.keys()


def test_no_import_points_up_or_sideways():
    wrong = [
        f"{name} imports {other}"
        for name, others in sorted(ARROWS.items())
        for other in sorted(others - DOORS)
        if _room(name) != _room(other) and LEVEL[_room(other)] >= LEVEL[_room(name)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle():
    try:
        TopologicalSorter({name: others - {name} for name, others in ARROWS.items()}).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_the_page_has_the_same_order():
    page = (SOURCE / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1:3] for row in page.splitlines() if row.startswith("| ")]
    named = [
        (int(level), room.strip().strip("`").removeprefix("luna/").rstrip("/"))
        for level, room in rows
        if level.strip().isdigit()
    ]
    assert sorted(named) == sorted(
        (level, "" if room == "plain" else room) for room, level in LEVEL.items()
    )
