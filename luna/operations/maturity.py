"""`luna maturity`: applies the rule of promotion/maturity.py to the head's line."""

from __future__ import annotations

from pathlib import Path

from luna import ledger, params
from luna.history import past
from luna.history.line import read_line
from luna.names import GenerationName
from luna.promotion.maturity import Maturity, judge, own_line


def maturity_of_head(root: Path) -> tuple[Maturity, list[str]]:
    """The head's line as far back as the ledger can be read, and a sentence for each thing that could not be read.

    Three git processes, however long the line. Raises InputError when the ledger's header cannot be read.
    """
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    if line.head_name is None:
        return judge([], settings.maturity), []
    rows, faults = ledger.scan(line.ledger_text(), line.ledger_label)
    own = own_line(rows, GenerationName.parse(line.head_name).number)
    unreadable = [
        f"{line.ledger_label} line {fault.line} is not a row of the ledger" for fault in faults
    ]
    if not own:
        unreadable.append(
            f"the ledger has no row of the head, {line.head_name}: restore it with 'git restore lineage.csv'"
        )
    elif isinstance(own[0].parent, int):
        unreadable.append(
            f"the ledger has no readable row of G{own[0].parent:03d}: generations before G{own[0].gen:03d} are not counted"
        )
    commits = {row.gen: line.sealed[row.gen].commit for row in own if row.gen in line.sealed}
    by = past.judged(line.git, commits)
    return judge(own, settings.maturity, by.measures, by.kept), unreadable
