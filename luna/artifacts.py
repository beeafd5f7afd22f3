"""The artifact set of a generation: the one list of paths that stages write and read."""

from __future__ import annotations

from pathlib import Path

MODELS = Path("models")

#: What 'luna new' decided for the generation that is built: see luna/history/build.py.
BUILD = MODELS / "build.json"
# base
BASE = MODELS / "base"
# general
GENERAL = MODELS / "general.jsonl"
GENERAL_TEXTS = MODELS / "general.json"
GENERAL_REPLIES = MODELS / "general_replies.jsonl"
# prep
DELTA = MODELS / "data_delta.jsonl"
HELD_OUT = MODELS / "held_out.jsonl"
DELTA_SHA256 = MODELS / "data_delta.sha256"
PARENT = MODELS / "parent_gen.txt"
TAUGHT = MODELS / "taught.csv"
#: Which generation's weights the adapters are added to, and what those are made of: see luna/history/build.py.
KEYFRAME_RECIPE = MODELS / "keyframe.json"
TRAINING_SET = MODELS / "training_set.jsonl"
PROBES = MODELS / "probes.jsonl"
PREP_REPORT = MODELS / "prep.json"
# keyframe
KEYFRAME = MODELS / "keyframe"
# train
ADAPTER = MODELS / "adapter"
TRAIN_ARGS = MODELS / "train_args.json"
LOSS = MODELS / "loss"
LOSS_CURVE = LOSS / "plots" / "metrics" / "train" / "loss.tsv"
RESOURCES = {
    name: LOSS / "plots" / "metrics" / "resources" / f"{name}.tsv"
    for name in ("memory", "free_disk")
}
# export
MODEL = MODELS / "model.gguf"
TOKENIZER = MODELS / "tokenizer.json"
CONFIG = MODELS / "config.json"
EXPORT_REPORT = MODELS / "export.json"
WEIGHT_CHANGE = MODELS / "weight_change.csv"
# evaluate
RECALL_MATRIX = MODELS / "recall_matrix.csv"
SCORES = MODELS / "scores.json"
EVAL_ARGS = MODELS / "eval_args.json"
ANSWERS = MODELS / "answers.jsonl"
ABILITY = MODELS / "ability.jsonl"
# promote
METRICS = MODELS / "metrics.json"
EVAL_REPORT = MODELS / "EVAL.md"
MODEL_CARD = MODELS / "MODEL_CARD.md"
CHECKLIST = MODELS / "CHECKLIST.md"
HASHES = MODELS / "hashes.csv"
HASHES_TRAILER = "Hashes-SHA256"  # of hashes.csv, in the message of the tag that seals it
WEIGHTS_SHA256 = MODELS / "weights.sha256"
LEDGER = Path("lineage.csv")

CONVERSATIONS = Path("data/conversations")
INBOX = Path("data/inbox")
CURATED_PROBES = Path("evals/probes")
#: General questions and prose, by which it is judged what a generation has kept of its base.
GENERAL_QUESTIONS = Path("evals/ability")
PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
PIPELINE = Path("dvc.yaml")

#: In a snapshot's commit: the folder that was kept, DVC's file for it, and size and SHA-256 of each file in it.
SNAPSHOT = Path("content")
SNAPSHOT_DVC = Path("content.dvc")
SNAPSHOT_HASHES = Path("hashes.csv")

#: What is recorded about sealed generations after their seal.
ATTESTATIONS = Path("attestations")

# Scratch: may be deleted when no command runs. After a killed 'luna evolve' with 'retry:' run it once more first,
# since the user's own settings are saved here meanwhile (operations/evolve.py).
SCRATCH = Path(".luna")
CHECKPOINTS = SCRATCH / "checkpoints"
#: As the last stage found them when it began: for a checkout that is taken back (repo/hooks/post-checkout), and after a kill.
AT_START = SCRATCH / "at-start"
LOCK_AT_START = AT_START / "dvc.lock"

#: Damaged files that a repair has replaced. Luna never reads or deletes anything in it.
QUARANTINE = Path("quarantine")

#: Files listed with size and SHA-256 in hashes.csv (folders stand for all files in them).
HASHED = (
    MODEL,
    TOKENIZER,
    CONFIG,
    TRAIN_ARGS,
    DELTA_SHA256,
    PARENT,
    METRICS,
    EVAL_REPORT,
    MODEL_CARD,
    CHECKLIST,
    RECALL_MATRIX,
    DELTA,
    HELD_OUT,
    TAUGHT,
    TRAINING_SET,
    PROBES,
    ADAPTER,
    LOSS,
    ANSWERS,
    ABILITY,
    GENERAL,
    GENERAL_TEXTS,
    GENERAL_REPLIES,
    SCORES,
    EVAL_ARGS,
    EXPORT_REPORT,
    WEIGHT_CHANGE,
    PREP_REPORT,
    BUILD,
)

#: What every generation has had from the first version on; a check of old generations asks for these and for their own pipeline's outputs.
REQUIRED = (
    MODEL,
    TOKENIZER,
    CONFIG,
    TRAIN_ARGS,
    DELTA_SHA256,
    PARENT,
    METRICS,
    EVAL_REPORT,
    MODEL_CARD,
    ADAPTER,
    DELTA,
    TRAINING_SET,
)

#: What DVC keeps by hash; it never goes into git. The project's .gitignore lists it as well, since DVC takes its own lines
#: there away while it builds, and a kill leaves it so.
KEPT_BY_DVC = (
    BASE,
    GENERAL,
    GENERAL_REPLIES,
    DELTA,
    HELD_OUT,
    TRAINING_SET,
    PROBES,
    KEYFRAME,
    ADAPTER,
    MODEL,
    TOKENIZER,
    ANSWERS,
    ABILITY,
)

#: What a seal puts into git. Folders stand for all in them that git does not ignore and DVC does not keep.
SEALED_IN_GIT = (
    PARAMS,
    LOCK,
    PIPELINE,
    LEDGER,
    MODELS,
    CONVERSATIONS,
    CURATED_PROBES,
    GENERAL_QUESTIONS,
)
