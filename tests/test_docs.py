"""The pages that are made from the code say what the code says."""

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
