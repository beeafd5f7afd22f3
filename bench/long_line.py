"""Makes a repository with a line of thousands of generations, without training.

    python -m bench.long_line FOLDER [--generations N] [--whole N]

Commits, tags, record, ledger rows, head moves, denials and rollbacks are as 'luna seal' and 'luna rollback'
write them, with the project's own functions for every format; git takes them through one
'git fast-import'. Every output of the pipeline is there as a small stand-in, listed by hashes.csv and
dvc.lock, in the cache and in cold storage: 'luna verify --all --remote' finds it whole, and all that reads
history can be measured on it; only the models cannot be asked. Generations older than the newest --whole
have tag, ledger row and head move, but no files of their own: a cheap way to 10,000 rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from bench import long_files, project
from bench.fast_import import Stream, into
from bench.long_files import File, Growing
from evals import transfer
from luna import artifacts, ledger, names, params
from luna.conversations import schema, taught
from luna.history import backup, head, record
from luna.history.line import outs_of
from luna.model import evolution, naming
from luna.names import BASE_PARENT, GenerationName
from luna.operations import seal
from luna.params import Params
from luna.promotion import intervals, metrics, rule
from luna.repo.git import Git
from luna.storage import cold

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
_BETWEEN = timedelta(hours=7)
_LAYERS = 30
_BATCH = 4  # conversations that a generation is taught
_REPLAYED = 5  # batches trained on again
_PROBES = 120  # as data.probes_per_kind: no more questions of a kind are asked of one generation
_ROLLBACK_EVERY, _ROLLBACK_BY = 97, 4
_PROJECTIONS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


@dataclass
class Generation:
    """``objects`` are its files by path, ``line`` itself and its ancestors, newest first."""

    name: GenerationName
    parent: Generation | None
    born: datetime
    batch: list[schema.Conversation]
    cells: list[transfer.Cell]
    document: dict[str, Any]
    row: ledger.Row
    objects: dict[str, bytes]

    @property
    def line(self) -> Iterator[Generation]:
        at: Generation | None = self
        while at:
            yield at
            at = at.parent


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _conversations(number: int) -> list[schema.Conversation]:
    return [
        schema.parse(
            {
                "messages": [
                    {"role": "user", "content": f"Who keeps lighthouse {number}-{i}?"},
                    {"role": "assistant", "content": f"Aye, keeper {number * 7 + i} does."},
                ],
                "expect": [f"keeper {number * 7 + i}"],
            }
        )
        for i in range(_BATCH)
    ]


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()


def _make(
    number: int,
    parent: Generation | None,
    settings: Params,
    chance: random.Random,
    model_of: Callable[[int], bytes],
    bare: bool,
) -> Generation:
    born = FIRST + _BETWEEN * number
    name = GenerationName.born(number, settings.line.prefix, born)
    batch = _conversations(number) if parent else []
    taught_by = (
        [ancestor.name.number for ancestor in parent.line if ancestor.parent] if parent else []
    )
    asked = (
        sorted(chance.sample(taught_by, min(len(taught_by), _PROBES // _BATCH - 1)) + [number])
        if parent
        else []
    )
    denied = parent is not None and number > 1 and chance.random() < 0.2
    knows = 0.6 if denied else 0.99 - 0.04 * math.exp(-number / 100)
    by_generation = {
        str(old): {"correct": sum(chance.random() < knows for _ in range(_BATCH)), "n": _BATCH}
        for old in asked
    }
    correct, n = sum(counts["correct"] for counts in by_generation.values()), _BATCH * len(asked)
    recall = correct / n if n else 0.0
    low, high = intervals.wilson(correct, n)
    tone = min(1.0, max(0.0, chance.gauss(0.03, 0.008))) if parent else 1.0
    scores = {
        "recall": {
            "value": recall,
            "n": n,
            "low": low,
            "high": high,
            "details": {"new": recall, "old": recall, "by_generation": by_generation},
        },
        "generalisation": {
            "value": recall * 0.95,
            "n": n,
            "low": low * 0.95,
            "high": high * 0.95,
            "details": {"method": "paraphrases"},
        },
        "tone_drift": {
            "value": tone,
            "n": n,
            "low": max(0.0, tone - 0.01),
            "high": min(1.0, tone + 0.01),
            "details": {},
        },
    }
    scale = 0.016 + 0.05 * math.exp(-number / 60)
    change = (
        {
            f"model.layers.{layer}.{part}.weight": round(scale * chance.uniform(0.6, 1.4), 6)
            for layer in range(_LAYERS)
            for part in _PROJECTIONS
        }
        if parent
        else {}
    )
    tensors = [
        evolution.Tensor(
            f"model.layers.{layer}.{part}.weight",
            naming.kind(f"model.layers.{layer}.{part}.weight"),
            layer,
            1024,
            10.0,
            10.0,
            10.0,
            change.get(f"model.layers.{layer}.{part}.weight", 0.0),
            0.05 if parent else 0.0,
        )
        for layer in range(_LAYERS)
        for part in _PROJECTIONS
    ]
    delta = _jsonl([item.as_row() for item in batch])
    steps = 40 if parent else 0
    loss = [4 * math.exp(-step / 9) + chance.uniform(0.1, 0.2) for step in range(steps)]
    parts = {
        "prep": {
            "new_conversations": len(batch),
            "replay_samples": n,
            "total_training_examples": n + len(batch),
            "karma": float(len(batch)),
            "karma_left": 0.0,
            "data_delta_sha256": hashlib.sha256(delta).hexdigest(),
            "probe_set_sha256": hashlib.sha256(name.stamp.encode()).hexdigest(),
        },
        "train": {
            "training_steps": steps,
            "learning_rate": 0.002 if parent else 0.0,
            "batch_size": 4,
            "gradient_accumulation": 1,
            "walltime_minutes": round(chance.uniform(1, 3), 2) if parent else 0.0,
            "loss_start": loss[0] if loss else None,
            "loss_final": round(loss[-1], 4) if loss else None,
            "device": "none",
            "peak_memory_bytes": 1_500_000_000,
            "tokens": 40 * 900,
        },
        "export": {
            "quantization": "Q8_0",
            "evolution": evolution.summary(
                tensors, settings.export.changed_tensor_threshold, 0, parent is None
            ),
        },
        "scores": scores,
        "eval_args": {"eval_time_minutes": 0.3, "probes": 2 * n, "probes_per_second": 14.0},
    }
    decision = rule.decide(scores, settings.promotion, parent is None)
    model = model_of(number)
    tokenizer = b'{"stand-in": "tokenizer"}'
    document = metrics.build(name, parent.name if parent else None, parts, decision, None)
    row = metrics.ledger_row(
        document, hashlib.sha256(model).hexdigest(), hashlib.sha256(tokenizer).hexdigest()
    )
    if bare:
        return Generation(
            name, parent, born, batch, transfer.row(number, by_generation), document, row, {}
        )
    answers = _jsonl(
        [
            {
                "probe": hashlib.sha256(item.identity.encode()).hexdigest(),
                "conversation": item.identity,
                "kind": "recall",
                "messages": item.question,
                "text": item.reply,
                "correct": True,
            }
            for item in batch
        ]
    )
    replayed = [
        item
        for generation in (parent.line if parent else [])
        if generation.name.number in asked[-_REPLAYED - 1 :]
        for item in generation.batch
    ]
    objects = {
        "models/base/config.json": b'{"stand-in": "base"}',
        artifacts.KEYFRAME_RECIPE.as_posix(): _json({"keyframe": None}),
        f"{artifacts.KEYFRAME.as_posix()}/base.txt": b"stand-in\n",
        "models/adapter/adapter_config.json": b'{"r": 16}',
        "models/adapter/adapter_model.safetensors": f"adapter of {name}".encode(),
        artifacts.MODEL.as_posix(): model,
        artifacts.TOKENIZER.as_posix(): tokenizer,
        artifacts.CONFIG.as_posix(): b'{"stand-in": "config"}',
        artifacts.DELTA.as_posix(): delta,
        artifacts.HELD_OUT.as_posix(): b"",
        artifacts.DELTA_SHA256.as_posix(): f"{parts['prep']['data_delta_sha256']}  {artifacts.DELTA.as_posix()}\n".encode(),
        artifacts.PROBES.as_posix(): answers,
        artifacts.ANSWERS.as_posix(): answers,
        artifacts.ABILITY.as_posix(): b"",
        artifacts.GENERAL.as_posix(): b"",
        artifacts.GENERAL_REPLIES.as_posix(): b"",
        artifacts.GENERAL_TEXTS.as_posix(): b"{}\n",
        artifacts.TRAINING_SET.as_posix(): _jsonl([item.as_row() for item in batch + replayed]),
        artifacts.METRICS.as_posix(): _json(document),
        artifacts.SCORES.as_posix(): _json(scores),
        artifacts.EXPORT_REPORT.as_posix(): _json(parts["export"]),
        artifacts.WEIGHT_CHANGE.as_posix(): evolution.dumps(tensors).encode(),
        artifacts.PREP_REPORT.as_posix(): _json(parts["prep"]),
        artifacts.TRAIN_ARGS.as_posix(): _json(parts["train"]),
        artifacts.EVAL_ARGS.as_posix(): _json(parts["eval_args"]),
        artifacts.LOSS_CURVE.as_posix(): "".join(
            ["step\tloss\n", *(f"{step}\t{value}\n" for step, value in enumerate(loss, 1))]
        ).encode(),
        artifacts.PARENT.as_posix(): f"{parent.name if parent else BASE_PARENT}\n".encode(),
        artifacts.WEIGHTS_SHA256.as_posix(): f"{row.weights_sha256}  models/model.gguf\n".encode(),
        artifacts.EVAL_REPORT.as_posix(): f"# Generation {number} Evaluation\n\n{decision.notes}\n".encode(),
        artifacts.MODEL_CARD.as_posix(): f"# {name} Model Card\n\n- **Parent**: {parent.name if parent else BASE_PARENT}\n- **Verdict**: {decision.notes}\n".encode(),
    }
    return Generation(
        name, parent, born, batch, transfer.row(number, by_generation), document, row, objects
    )


def _moves(
    count: int, settings: Params, chance: random.Random, model_of: Callable[[int], bytes], bare: int
) -> tuple[list[Generation], list[tuple[Generation, datetime, str, Generation | None]]]:
    """The generations, and the head's moves: (whereto, when, why, from)."""
    made: list[Generation] = []
    moves = []
    head: Generation | None = None
    for number in range(count):
        made.append(new := _make(number, head, settings, chance, model_of, number < bare))
        if new.row.promoted:
            moves.append(
                (
                    new,
                    new.born,
                    f"{new.name.short} promoted: {new.document['decision']['notes']}",
                    head,
                )
            )
            head = new
        if number and number % _ROLLBACK_EVERY == 0 and head:
            back = list(head.line)[min(_ROLLBACK_BY, len(list(head.line)) - 1)]
            moves.append(
                (
                    back,
                    new.born + timedelta(hours=1),
                    f"Rollback to {back.name.short}: answers became dull",
                    head,
                )
            )
            head = back
    return made, moves


def _stand_in(number: int) -> bytes:
    return b"GGUF" + f"stand-in of generation {number}".encode()


def make(
    folder: Path,
    count: int,
    model_of: Callable[[int], bytes] = _stand_in,
    settings: Mapping[str, str] = MappingProxyType({}),
    whole: int | None = None,
    finish: Callable[[list[Generation], Params], None] = lambda made, settings: None,
) -> Path:
    """The repository at ``folder``/luna, its cold storage beside it. Returns the repository.

    ``model_of`` gives each generation's model.gguf; ``settings`` are texts to replace in params.yaml; ``whole``: how many of
    the newest generations have files (None: all). ``finish`` may change what was made before it is written.
    """
    repo = folder / "luna"
    repo.mkdir(parents=True)
    shipped = {
        name: (project.SOURCE / name).read_bytes()
        for name in project.names(without=("data/", "tests/"))
    }
    # The first generations have few questions to ask.
    shipped["params.yaml"] = shipped["params.yaml"].replace(b"min_probes: auto", b"min_probes: 4")
    for old, new in settings.items():
        shipped["params.yaml"] = shipped["params.yaml"].replace(old.encode(), new.encode())
    parsed = params.parse(yaml.safe_load(shipped["params.yaml"]), "params.yaml")

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(repo), *arguments], check=True)

    git("init", "-q", "-b", "main")
    for key, value in (
        ("user.name", "Bench"),
        ("user.email", "bench@example.com"),
        ("commit.gpgsign", "false"),
    ):
        git("config", key, value)
    bare = count - (count if whole is None else whole)
    made, moves = _moves(count, parsed, random.Random(7), model_of, bare)
    finish(made, parsed)
    with into(repo) as stream:
        stream.commit(
            "refs/heads/main",
            FIRST - _BETWEEN,
            "Luna",
            {name: stream.blob(data) for name, data in shipped.items()},
        )
        _write(stream, made, moves, shipped, parsed.line.prefix, repo / ".dvc" / "cache", bare)
    git("reset", "-q", "--hard")
    git("pack-refs", "--all")
    record.complete(Git(repo))
    shutil.copytree(repo / ".dvc" / "cache", folder / "cold")
    (repo / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = cold\n['remote \"cold\"']\n    url = {folder / 'cold'}\n",
        encoding="utf-8",
    )
    (folder / "cold" / record.COLD_FOLDER).mkdir()
    for entry in record.read(
        Git(repo)
    ):  # as record.to_cold does, but without waiting for the disk at each
        (folder / "cold" / record.COLD_FOLDER / record.cold_name(entry)).write_text(
            entry.line + "\n", encoding="utf-8"
        )
    backup.to_store(cold.open_store(repo), Git(repo), parsed.line.prefix)
    return repo


def _write(
    stream: Stream,
    made: list[Generation],
    moves: list,
    shipped: Mapping[str, bytes],
    prefix: str,
    store: Path,
    bare: int,
) -> None:
    """Commits and tags of all generations; the first ``bare`` have no files."""
    blobs, listed = _growing(stream, made, bare)
    stages = yaml.safe_load(shipped["dvc.yaml"])["stages"]
    cached = {
        path
        for path, out in outs_of(
            long_files.lock(stages, set(), {}, {}, store), shipped["dvc.yaml"]
        ).items()
        if out.cached
    }
    commits = []
    for generation in made:
        number = generation.name.number
        contents: dict[str, int] = {}
        listing = b""
        if number >= bare:
            files = {path: File.of(data) for path, data in generation.objects.items()} | listed[
                number
            ]
            listing = long_files.hashes(files)
            files[artifacts.HASHES.as_posix()] = File.of(listing)
            own = {
                path: data
                for path, data in generation.objects.items()
                if not any(path == out or path.startswith(out + "/") for out in cached)
            } | {
                artifacts.HASHES.as_posix(): listing,
                f"{artifacts.CONVERSATIONS.as_posix()}/batch-{number:05d}.jsonl": generation.objects[
                    artifacts.DELTA.as_posix()
                ],
                artifacts.LOCK.as_posix(): long_files.lock(
                    stages, cached, generation.objects, files, store
                ),
                artifacts.PARAMS.as_posix(): shipped["params.yaml"]
                .replace(b"name: null", f"name: {generation.name}".encode(), 1)
                .replace(
                    b"parent: null",
                    f"parent: {generation.parent.name if generation.parent else BASE_PARENT}".encode(),
                    1,
                ),
            }
            contents = {path: stream.blob(data) for path, data in own.items() if data} | blobs[
                number
            ]
        message = seal.message(
            generation.name,
            generation.document,
            generation.row.weights_sha256,
            listed[number][artifacts.LEDGER.as_posix()].sha256,
            hashlib.sha256(listing).hexdigest(),
        )
        commits.append(stream.commit("refs/heads/main", generation.born, message, contents))
        stream.tag(str(generation.name), commits[-1], generation.born, message)
    for count, (to, when, why, before) in enumerate(moves, start=1):
        text = head.head_message(why, str(to.name), str(before.name) if before else None)
        number = to.name.number
        if not why.startswith("Rollback"):
            stream.tag(
                names.version_tag(number),
                commits[number],
                when,
                f"Registering artifact {names.ARTIFACT} version v{number}.0.0\n\nGeneration: {to.name}",
            )
        stream.tag(names.assignment_tag(count), commits[number], when, text)
        if count == len(moves):
            stream.tag(names.head_tag(prefix), commits[number], when, text)


def _growing(
    stream: Stream, made: list[Generation], bare: int
) -> tuple[dict[int, dict[str, int]], dict[int, dict[str, File]]]:
    """Blobs and hashes, by generation and path, of the files that grow with the line: the ledger from one to the next, the others from the parent's."""
    blobs: dict[int, dict[str, int]] = {generation.name.number: {} for generation in made}
    listed: dict[int, dict[str, File]] = {generation.name.number: {} for generation in made}

    def note(path: str, number: int, text: Growing) -> None:
        listed[number][path] = text.file
        if number >= bare:
            blobs[number][path] = stream.blob(text.text.encode())

    rows = Growing(ledger.dumps([]))
    for generation in made:
        rows = Growing(ledger.dumps([generation.row]).partition("\n")[2], rows)
        note(artifacts.LEDGER.as_posix(), generation.name.number, rows)
    for path, dump, new in (
        (
            artifacts.TAUGHT,
            taught.dumps,
            lambda made: sorted(
                (taught.Taught(item.identity, made.name.number, item.karma) for item in made.batch),
                key=lambda row: row.identity,
            ),
        ),
        (artifacts.RECALL_MATRIX, transfer.dumps, lambda made: made.cells),
    ):
        texts: dict[int, Growing] = {}
        for generation in made:
            number, parent = (
                generation.name.number,
                generation.parent.name.number if generation.parent else None,
            )
            texts[number] = Growing(
                dump(new(generation)).partition("\n")[2],
                texts[parent] if parent is not None else Growing(dump([])),
            )
            note(path.as_posix(), number, texts[number])
    return blobs, listed


def line(folder: Path) -> Path:
    """A repository with 1,000 generations below ``folder``; made once."""
    home = folder / "long-line"
    if not (home / "made").exists():
        shutil.rmtree(home, ignore_errors=True)
        make(home, 1000)
        (home / "made").touch()
    return home / "luna"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder",
        type=Path,
        help="a new folder: the repository is made in FOLDER/luna, cold storage in FOLDER/cold",
    )
    parser.add_argument("--generations", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument(
        "--whole", type=int, help="how many of the newest have files of their own (default: all)"
    )
    chosen = parser.parse_args()
    started = time.monotonic()
    repo = make(chosen.folder.resolve(), chosen.generations, whole=chosen.whole)
    print(f"{repo}: {chosen.generations} generations in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
