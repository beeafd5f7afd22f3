"""The command that runs random sequences of git, DVC and luna commands on copies of a line.

    python -m bench.sequences LINE [--count 300] [--seed 7] [--jobs 2] [--log FILE] [--only N ...] [--keep FOLDER]

Random sequences of ordinary git, DVC and luna commands on copies of LINE (a tiny line as tests/conftest.py
builds it, with its cold storage in the folder beside it). After each sequence three things are asked:

* does ``luna verify --all --remote`` tell the truth? The truth is known here: every tag that was ever
  sealed, its object, and the bytes of every object that a sealed generation names;
* is every sealed byte still what it was, in cold storage or in the cache?
* does the tool's own advice (what status, verify and the errors say to run, and nothing else) lead back to
  a whole line, which can then begin its next generation?

Each sequence is a line of JSON in the log as soon as it is done, and the same command goes on where the
log ends. ``--only`` repeats single sequences and prints every command that was run in them.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.faults import sequences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("line", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--only", type=int, nargs="*")
    parser.add_argument("--keep", type=Path, help="copies of the worlds that failed go here")
    given = parser.parse_args()
    line = given.line.resolve()
    done = (
        [json.loads(row) for row in given.log.read_text().splitlines()]
        if given.log and given.log.exists()
        else []
    )
    numbers = given.only or [
        number for number in range(given.count) if number not in {row["number"] for row in done}
    ]
    with ThreadPoolExecutor(given.jobs) as pool:
        for outcome in pool.map(
            lambda number: sequences.sequence(line, number, given.seed, given.keep), numbers
        ):
            done.append(asdict(outcome))
            if given.log and not given.only:
                with given.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            if given.only or outcome.faults:
                print(f"sequence {outcome.number}: {outcome.faults or 'good'}")
                print("\n".join(f"    {row}" for row in outcome.log), flush=True)
    bad = [row for row in done if row["faults"]]
    steps = sum(row["steps"] for row in done)
    print(f"{len(done)} sequences, {steps} steps: {len(bad)} with faults")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
