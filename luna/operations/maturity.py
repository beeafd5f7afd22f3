"""`luna maturity`: applies the rule of promotion/maturity.py to the head's line."""

from __future__ import annotations

from pathlib import Path

from luna import ledger, params
from luna.history.line import read_line
from luna.names import GenerationName
from luna.promotion.maturity import Maturity, judge, own_line


def maturity_of_head(root: Path) -> tuple[Maturity, list[str]]:
    """The head's line as far back as the ledger can be read, and a sentence for each thing that stood in the way.

    Two git processes, however long the line. Raises InputError when the ledger's header cannot be read.
    """
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    if line.head_name is None:
        return judge([], settings.maturity), []
    rows, faults = ledger.scan(line.ledger_text(), line.ledger_place)
    found = own_line(rows, GenerationName.parse(line.head_name).number)
    said = [f"{line.ledger_place} line {fault.line} is not a row of the ledger" for fault in faults]
    if not found:
        said.append(
            f"the ledger has no row of the head, {line.head_name}: restore it with 'git restore lineage.csv'"
        )
    elif isinstance(found[0].parent, int):
        said.append(
            f"the ledger has no readable row of G{found[0].parent:03d}: what lies before G{found[0].gen:03d} is not counted"
        )
    return judge(found, settings.maturity), said
