"""The command that kills commands at random instants, and checks that nothing was lost.

    python -m bench.kills LINE [--count 200] [--seed 7] [--only seal gc] [--thinned] [--log FILE --states FOLDER --minutes M]

SIGKILL at random instants, then the same command again. LINE is a clone with at least two promoted
generations and its cold storage as the default remote 'cold' in the folder beside it (as
tests/conftest.py builds it). Each kill works on a copy, and takes the whole process group. Half of the
kills wait for a line that the command writes, chosen at random among all that it writes undisturbed;
the others for a random instant of the time that it took. After the kill, and again after the repetition,
every sealed tag, every object in cold storage and every ledger row must be as before, and the head must
name a sealed generation that passed the rule; after a repair all must be whole.

With --log every kill is a line of JSON in FILE as soon as it is done, and the same command goes on where
the file ends: 200 can be had in parts (--minutes), which --states makes cheap to begin.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.faults import kills


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("line", type=Path, help="the clone whose copies are worked on")
    parser.add_argument("--count", type=int, default=200, help="kills in all (default: 200)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=[case.name for case in kills.CASES])
    parser.add_argument(
        "--thinned",
        action="store_true",
        help="thin the line first: only the head's GGUF is in cold storage",
    )
    parser.add_argument(
        "--log", type=Path, help="append each kill to this file as JSON, and go on where it ends"
    )
    parser.add_argument(
        "--states", type=Path, help="keep the prepared clones in this folder for the next part"
    )
    parser.add_argument("--minutes", type=float, help="begin no kill after so many minutes")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args()
    started = time.monotonic()
    result = kills.kills(
        given.line.resolve(),
        given.count,
        given.seed,
        set(given.only or ()),
        given.thinned,
        given.log,
        given.states and given.states.resolve(),
        started + 60 * given.minutes if given.minutes else None,
    )
    seconds = time.monotonic() - started
    if given.json:
        print(
            json.dumps(
                {
                    "kills": result.kills,
                    "late": result.late,
                    "faults": result.faults,
                    "of": given.count,
                    "seed": given.seed,
                    "thinned": given.thinned,
                    "seconds": round(seconds),
                },
                indent=2,
            )
        )
    else:
        for fault in result.faults:
            print(fault)
        print(
            f"{result}; {len(result.done)} of {given.count}, seed {given.seed}{', thinned line' if given.thinned else ''}, {seconds:.0f} s"
        )
        if len(result.done) < given.count:
            print("not all are done: the same command goes on")
    sys.exit(1 if result.faults else 0)


if __name__ == "__main__":
    main()
