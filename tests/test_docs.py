"""The pages that are made from the code say what the code says."""

import ast

from conftest import SOURCE

from luna.cli import docs


def test_the_page_of_commands_is_current():
    assert (SOURCE / docs.PAGE).read_text() == docs.page(), "run: python -m luna.cli.docs"


def test_the_list_of_files_is_current():
    text = (SOURCE / docs.ARCHITECTURE).read_text()
    assert text == docs.architecture(SOURCE), "run: python -m luna.cli.docs"


def test_a_file_says_in_its_first_line_what_it_holds():
    lines = {path: docs.first_line(SOURCE / path) for path in docs.modules(SOURCE)}
    assert not [
        f"{path}: {line}"
        for path, line in lines.items()
        if not 25 <= len(line) <= 100 or not line.endswith(".")
    ]


def test_no_name_says_nothing():
    """A variable called found or place makes the reader look for what it holds."""
    empty = {"found", "place", "said", "told"}
    assert not [
        f"{path}:{node.lineno}: {name}"
        for path in docs.modules(SOURCE)
        if path.parts[0] in ("luna", "stages", "evals")
        for node in ast.walk(ast.parse((SOURCE / path).read_text()))
        for name in _names(node)
        if empty & set(name.split("_"))
    ]


def _names(node: ast.AST) -> list[str]:
    """The names that a node gives: of a variable, an argument, a function or a class."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return [name]
        case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
    return []
