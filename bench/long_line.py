"""python -m bench.long_line FOLDER [--generations N]: a repository with a long line, made in seconds without training.

Commits, tags, ledger rows, head moves, denials and rollbacks are as 'luna seal' and 'luna rollback'
write them, with the project's own functions for every format; git takes them through one
'git fast-import'. The artifacts are small stand-ins, recorded by dvc.lock, in the cache and in cold
storage: all that reads history can be measured on it, only the models cannot be asked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from bench import generations, project
from bench.fast_import import Stream
from evals import transfer
from luna import artifacts, names, params
from luna.conversations import schema, taught
from luna.history import ledger, record, seal
from luna.history.git import Git
from luna.model import evolution, naming
from luna.names import BASE_PARENT, GenerationName
from luna.params import Params
from luna.promotion import intervals, metrics, rule

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
_BETWEEN = timedelta(hours=7)
_LAYERS = 30
_BATCH = 4  # conversations that a generation is taught
_REPLAYED = 5  # batches trained on again
_PROBES = 120  # as data.probes_per_kind: no more questions of a kind are asked of one generation
_ROLLBACK_EVERY, _ROLLBACK_BY = 97, 4
_PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass
class _Generation:
    name: GenerationName
    parent: _Generation | None
    born: datetime
    batch: list[schema.Conversation]
    cells: list[transfer.Cell]
    document: dict[str, Any]
    row: ledger.Row
    objects: dict[str, bytes]

    @property
    def line(self) -> Iterator[_Generation]:
        at: _Generation | None = self
        while at:
            yield at
            at = at.parent


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _conversations(number: int) -> list[schema.Conversation]:
    return [
        schema.parse({"messages": [{"role": "user", "content": f"Who keeps lighthouse {number}-{i}?"}, {"role": "assistant", "content": f"Aye, keeper {number * 7 + i} does."}],
                      "expect": [f"keeper {number * 7 + i}"]})
        for i in range(_BATCH)
    ]


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()


def _make(number: int, parent: _Generation | None, settings: Params, chance: random.Random, model_of: Callable[[int], bytes]) -> _Generation:
    born = FIRST + _BETWEEN * number
    name = GenerationName.born(number, settings.line.prefix, born)
    batch = _conversations(number) if parent else []
    taught_by = [ancestor.name.number for ancestor in parent.line if ancestor.parent] if parent else []
    asked = sorted(chance.sample(taught_by, min(len(taught_by), _PROBES // _BATCH - 1)) + [number]) if parent else []
    denied = parent is not None and number > 1 and chance.random() < 0.2
    knows = 0.6 if denied else 0.99 - 0.04 * math.exp(-number / 100)
    by_generation = {str(old): {"correct": sum(chance.random() < knows for _ in range(_BATCH)), "n": _BATCH} for old in asked}
    correct, n = sum(counts["correct"] for counts in by_generation.values()), _BATCH * len(asked)
    recall = correct / n if n else 0.0
    low, high = intervals.wilson(correct, n)
    tone = min(1.0, max(0.0, chance.gauss(0.03, 0.008))) if parent else 1.0
    scores = {
        "recall": {"value": recall, "n": n, "low": low, "high": high, "details": {"new": recall, "old": recall, "by_generation": by_generation}},
        "generalisation": {"value": recall * 0.95, "n": n, "low": low * 0.95, "high": high * 0.95, "details": {"method": "paraphrases"}},
        "tone_drift": {"value": tone, "n": n, "low": max(0.0, tone - 0.01), "high": min(1.0, tone + 0.01), "details": {}},
    }
    scale = 0.016 + 0.05 * math.exp(-number / 60)
    change = {f"model.layers.{layer}.{part}.weight": round(scale * chance.uniform(0.6, 1.4), 6) for layer in range(_LAYERS) for part in _PROJECTIONS} if parent else {}
    tensors = [evolution.Tensor(f"model.layers.{layer}.{part}.weight", naming.kind(f"model.layers.{layer}.{part}.weight"), layer, 1024, 10.0, 10.0, 10.0, change.get(f"model.layers.{layer}.{part}.weight", 0.0), 0.05 if parent else 0.0)
               for layer in range(_LAYERS) for part in _PROJECTIONS]
    delta = _jsonl([item.as_row() for item in batch])
    steps = 40 if parent else 0
    loss = [4 * math.exp(-step / 9) + chance.uniform(0.1, 0.2) for step in range(steps)]
    parts = {
        "prep": {"new_conversations": len(batch), "replay_samples": n, "total_training_examples": n + len(batch), "karma": float(len(batch)), "karma_left": 0.0,
                 "data_delta_sha256": hashlib.sha256(delta).hexdigest(), "probe_set_sha256": hashlib.sha256(name.stamp.encode()).hexdigest()},
        "train": {"training_steps": steps, "learning_rate": 0.002 if parent else 0.0, "batch_size": 4, "gradient_accumulation": 1,
                  "walltime_minutes": round(chance.uniform(1, 3), 2) if parent else 0.0, "loss_start": loss[0] if loss else None, "loss_final": round(loss[-1], 4) if loss else None,
                  "device": "none", "peak_memory_bytes": 1_500_000_000, "tokens": 40 * 900},
        "export": {"quantization": "Q8_0", "evolution": evolution.summary(tensors, settings.export.changed_tensor_threshold, 0, parent is None)},
        "scores": scores,
        "eval_args": {"eval_time_minutes": 0.3, "probes": 2 * n, "probes_per_second": 14.0},
    }
    decision = rule.decide(scores, settings.promotion, parent is None)
    model = model_of(number)
    tokenizer = b'{"stand-in": "tokenizer"}'
    document = metrics.build(name, parent.name if parent else None, parts, decision, None)
    row = metrics.ledger_row(document, hashlib.sha256(model).hexdigest(), hashlib.sha256(tokenizer).hexdigest())
    answers = _jsonl([{"probe": hashlib.sha256(item.identity.encode()).hexdigest(), "conversation": item.identity, "kind": "recall", "messages": item.question, "text": item.reply, "correct": True} for item in batch])
    replayed = [item for generation in (parent.line if parent else []) if generation.name.number in asked[-_REPLAYED - 1 :] for item in generation.batch]
    objects = {
        "models/base/config.json": b'{"stand-in": "base"}', "models/adapter/adapter_config.json": b'{"r": 16}', "models/adapter/adapter_model.safetensors": f"adapter of {name}".encode(),
        artifacts.MODEL.as_posix(): model, artifacts.TOKENIZER.as_posix(): tokenizer, artifacts.DELTA.as_posix(): delta, artifacts.HELD_OUT.as_posix(): b"",
        artifacts.PROBES.as_posix(): answers, artifacts.ANSWERS.as_posix(): answers, artifacts.TRAINING_SET.as_posix(): _jsonl([item.as_row() for item in batch + replayed]),
        # from here on: what git keeps
        artifacts.METRICS.as_posix(): _json(document), artifacts.SCORES.as_posix(): _json(scores), artifacts.EXPORT_REPORT.as_posix(): _json(parts["export"]), artifacts.WEIGHT_CHANGE.as_posix(): evolution.dumps(tensors).encode(),
        artifacts.PREP_REPORT.as_posix(): _json(parts["prep"]), artifacts.TRAIN_ARGS.as_posix(): _json(parts["train"]), artifacts.EVAL_ARGS.as_posix(): _json(parts["eval_args"]),
        artifacts.LOSS_CURVE.as_posix(): "".join(["step\tloss\n", *(f"{step}\t{value}\n" for step, value in enumerate(loss, 1))]).encode(),
        artifacts.PARENT.as_posix(): f"{parent.name if parent else BASE_PARENT}\n".encode(), artifacts.WEIGHTS_SHA256.as_posix(): f"{row.weights_sha256}  models/model.gguf\n".encode(),
        artifacts.MODEL_CARD.as_posix(): f"# {name} Model Card\n\n- **Parent**: {parent.name if parent else BASE_PARENT}\n- **Verdict**: {decision.notes}\n".encode(),
        f"{artifacts.CONVERSATIONS.as_posix()}/batch-{number:05d}.jsonl": delta,
    }
    listed = "".join(f"{path},{len(data)},{hashlib.sha256(data).hexdigest()}\n" for path, data in objects.items() if path.startswith("models/") and not path.startswith("models/base/"))
    objects[artifacts.HASHES.as_posix()] = f"path,bytes,sha256\n{listed}".encode()
    return _Generation(name, parent, born, batch, transfer.row(number, by_generation), document, row, objects)


_IN_CACHE = 10  # the first so many of a generation's objects are DVC's


def _lock(objects: dict[str, bytes], store: Path) -> bytes:
    """dvc.lock with the outputs that DVC keeps; their bytes go into the store."""
    outs: dict[str, tuple[str, int]] = {}
    folders: dict[str, list[dict[str, str]]] = {}
    for path, data in list(objects.items())[:_IN_CACHE]:
        md5 = _put(store, data)
        folder, _, name = path.rpartition("/")
        if folder == artifacts.MODELS.as_posix():
            outs[path] = md5, len(data)
        else:
            folders.setdefault(folder, []).append({"md5": md5, "relpath": name})
            outs[folder] = "", outs.get(folder, ("", 0))[1] + len(data)
    for folder, listing in folders.items():
        outs[folder] = _put(store, json.dumps(listing, separators=(", ", ": ")).encode(), ".dir"), outs[folder][1]
    rows = "".join(f"    - path: {path}\n      hash: md5\n      md5: {md5}\n      size: {size}\n" for path, (md5, size) in outs.items())
    return f"schema: '2.0'\nstages:\n  export:\n    cmd: python -m stages.export\n    outs:\n{rows}".encode()


def _put(store: Path, data: bytes, suffix: str = "") -> str:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
    place = store / "files" / "md5" / md5[:2] / md5[2:]
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return md5


def _moves(count: int, settings: Params, chance: random.Random, model_of: Callable[[int], bytes]) -> tuple[list[_Generation], list[tuple[_Generation, datetime, str, _Generation | None]]]:
    """The generations, and the head's moves: (whereto, when, why, from)."""
    made: list[_Generation] = []
    moves = []
    head: _Generation | None = None
    for number in range(count):
        made.append(new := _make(number, head, settings, chance, model_of))
        if new.row.promoted:
            moves.append((new, new.born, f"{new.name.short} promoted: {new.document['decision']['notes']}", head))
            head = new
        if number and number % _ROLLBACK_EVERY == 0 and head:
            back = list(head.line)[min(_ROLLBACK_BY, len(list(head.line)) - 1)]
            moves.append((back, new.born + timedelta(hours=1), f"Rollback to {back.name.short}: answers became dull", head))
            head = back
    return made, moves


def _stand_in(number: int) -> bytes:
    return b"GGUF" + f"stand-in of generation {number}".encode()


def make(folder: Path, count: int, model_of: Callable[[int], bytes] = _stand_in, settings: Mapping[str, str] = MappingProxyType({})) -> Path:
    """The repository at ``folder``/luna, its cold storage beside it. Returns the repository.

    ``model_of`` gives each generation's model.gguf; ``settings`` are texts to replace in params.yaml.
    """
    repo = folder / "luna"
    repo.mkdir(parents=True)
    shipped = {name: (project.SOURCE / name).read_bytes() for name in project.names(without=("data/", "tests/"))}
    # The first generations have few questions to ask.
    shipped["params.yaml"] = shipped["params.yaml"].replace(b"min_probes: 20", b"min_probes: 4")
    for old, new in settings.items():
        shipped["params.yaml"] = shipped["params.yaml"].replace(old.encode(), new.encode())
    parsed = params.parse(yaml.safe_load(shipped["params.yaml"]), "params.yaml")
    made, moves = _moves(count, parsed, random.Random(7), model_of)
    store = repo / ".dvc" / "cache"
    stream = Stream()
    stream.commit("refs/heads/main", FIRST - _BETWEEN, "Luna", {name: stream.blob(data) for name, data in shipped.items()})
    ledgers, rows = [], ledger.dumps([])
    for generation in made:
        rows += ledger.dumps([generation.row]).partition("\n")[2]
        ledgers.append(rows)
    growing: dict[str, list[int]] = {artifacts.LEDGER.as_posix(): [stream.blob(text.encode()) for text in ledgers]}
    texts: dict[int, str] = {}
    for path, dump, new in (
        (artifacts.TAUGHT, taught.dumps, lambda made: sorted((taught.Taught(item.identity, made.name.number, item.karma) for item in made.batch), key=lambda row: row.identity)),
        (artifacts.RECALL_MATRIX, transfer.dumps, lambda made: made.cells),
    ):
        growing[path.as_posix()] = []
        for generation in made:
            before = texts[generation.parent.name.number] if generation.parent else dump([])
            texts[generation.name.number] = before + dump(new(generation)).partition("\n")[2]
            growing[path.as_posix()].append(stream.blob(texts[generation.name.number].encode()))
    commits = []
    for generation in made:
        number = generation.name.number
        own = dict(list(generation.objects.items())[_IN_CACHE:]) | {
            artifacts.LOCK.as_posix(): _lock(generation.objects, store),
            artifacts.PARAMS.as_posix(): shipped["params.yaml"].replace(b"name: null", f"name: {generation.name}".encode(), 1)
            .replace(b"parent: null", f"parent: {generation.parent.name if generation.parent else BASE_PARENT}".encode(), 1),
        }
        contents = {path: stream.blob(data) for path, data in own.items() if data} | {path: marks[number] for path, marks in growing.items()}
        message = seal.message(generation.name, generation.document, generation.row.weights_sha256, hashlib.sha256(ledgers[number].encode()).hexdigest())
        commits.append(stream.commit("refs/heads/main", generation.born, message, contents))
        stream.tag(str(generation.name), commits[-1], generation.born, message)
    for count, (to, when, why, before) in enumerate(moves, start=1):
        text = seal.head_message(why, str(to.name), str(before.name) if before else None)
        number = to.name.number
        if not why.startswith("Rollback"):
            stream.tag(names.version_tag(number), commits[number], when, f"Registering artifact {names.ARTIFACT} version v{number}.0.0\n\nGeneration: {to.name}")
        stream.tag(names.assignment_tag(count), commits[number], when, text)
        if count == len(moves):
            stream.tag(names.head_tag(parsed.line.prefix), commits[number], when, text)

    def git(*arguments: str, stdin: bytes | None = None) -> None:
        subprocess.run(["git", "-C", str(repo), *arguments], check=True, input=stdin)

    git("init", "-q", "-b", "main")
    for key, value in (("user.name", "Bench"), ("user.email", "bench@example.com"), ("commit.gpgsign", "false")):
        git("config", key, value)
    git("fast-import", "--quiet", stdin=b"".join(stream.parts))
    git("reset", "-q", "--hard")
    git("pack-refs", "--all")
    record.complete(Git(repo))
    shutil.copytree(store, folder / "cold")
    (repo / ".dvc" / "config.local").write_text(f"[core]\n    remote = cold\n['remote \"cold\"']\n    url = {folder / 'cold'}\n", encoding="utf-8")
    return repo


def line(folder: Path) -> Path:
    """A repository with 1,000 generations below ``folder``; made once."""
    home = folder / "long-line"
    if not (home / "made").exists():
        shutil.rmtree(home, ignore_errors=True)
        make(home, 1000)
        (home / "made").touch()
    return home / "luna"


def report(folder: Path) -> list[str]:
    """Times of the commands on 1,000 generations: medians of whole processes."""
    repo = line(folder)
    page = folder / "report.html"
    (repo / artifacts.CONVERSATIONS).mkdir(parents=True, exist_ok=True)
    (repo / artifacts.CONVERSATIONS / "new.jsonl").write_text(json.dumps({"instruction": "What is new?", "output": "This is.", "expect": ["This"], "paraphrases": ["And new is what?"]}) + "\n", encoding="utf-8")
    looking = (
        ("status",), ("log",), ("log", "--graph"), ("log", "--head"), ("log", "--json"), ("maturity",), ("diff", "G001", "HEAD"), ("diff", "G998", "G999"),
        ("report", "-o", str(page)),
    )
    lines = ["## A line of 1,000 generations", "", f"Made by `python -m bench.long_line`, small stand-ins for models. Medians of {generations.REPEATS} runs, whole processes.", "",
             "| command | seconds | spread | git processes |", "| --- | ---: | --- | ---: |"]

    def measure(*command: str, before: tuple[str, ...] = (), varied: tuple[str, ...] = ("",) * generations.REPEATS) -> None:
        seconds = []
        for more in varied:
            if before:
                generations.timed(repo, *before)
            trace = folder / "trace"
            trace.unlink(missing_ok=True)
            os.environ["GIT_TRACE"] = str(trace)
            try:
                seconds.append(generations.timed(repo, "luna", *command, *filter(None, [more])).seconds)
            finally:
                del os.environ["GIT_TRACE"]
        processes = trace.read_text(encoding="utf-8").count("trace: built-in")
        shown = " ".join(part for part in ("luna", *command) if not part.startswith(("/", "-o")))
        lines.append(f"| `{shown}` | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {processes} |")
        print(lines[-1], flush=True)

    for command in looking:
        measure(*command)
    measure("new", before=("git", "checkout", "-q", "--", "params.yaml"))
    generations.timed(repo, "git", "checkout", "-q", "--", "params.yaml")
    (repo / artifacts.CONVERSATIONS / "new.jsonl").unlink()
    measure("rollback", "--reason", "bench", varied=tuple(_promoted(repo)[-2 - generations.REPEATS:-2]))
    shutil.rmtree(folder / "long-line")  # the head was moved: the next bench makes it anew
    return [*lines, "", f"The report's page: {page.stat().st_size / 1e6:.1f} MB.", ""]


def _promoted(repo: Path) -> list[str]:
    return [f"G{row.gen:03d}" for row in ledger.loads((repo / artifacts.LEDGER).read_text(encoding="utf-8")) if row.promoted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder: the repository is made in FOLDER/luna, cold storage in FOLDER/cold")
    parser.add_argument("--generations", type=int, default=1000, help="how many (default: 1000)")
    chosen = parser.parse_args()
    started = time.monotonic()
    repo = make(chosen.folder.resolve(), chosen.generations)
    print(f"{repo}: {chosen.generations} generations in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
