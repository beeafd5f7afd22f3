"""docs/commands.md says what the commands' help says."""

from conftest import SOURCE

from luna.cli import docs


def test_the_page_of_commands_is_current():
    assert (SOURCE / docs.PAGE).read_text() == docs.page(), "run: python -m luna.cli.docs"
