"""One training run: LoRA by unsloth on the parent's exact 16-bit weights.

LoRA: Hu et al. 2021, arXiv 2106.09685.

``environment.prepare`` must have run before this module is imported; unsloth before transformers.
"""

from __future__ import annotations

import json
import math
import platform
import resource
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import unsloth  # noqa: F401  # it patches trl and transformers, so it comes before them
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR
from transformers import DataCollatorForSeq2Seq
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

from luna.conversations.examples import IGNORED, Example, Teaching
from luna.conversations.schema import Conversation
from luna.errors import InputError
from luna.files import read_json
from luna.model import adapter
from luna.model import folder as model_folder
from luna.model import tokenizer as tokenizers
from luna.params import Chat, Train
from luna.training import divergence, environment, memory, pace
from luna.training.enough import Enough
from luna.training.outcome import CEILING, KNOWN, STEPS, Outcome
from luna.training.pace import Pace
from luna.training.progress import ShowProgress
from luna.training.recital import Recital, Row
from luna.training.smaller import Scaled, smallest
from luna.training.watch import Stop, Watch

_GENERAL = "general"  # a column of the training set: 1 for a reply of the base to a general prompt


def train(
    weights: Path,
    conversations: list[Conversation],
    chat: Chat,
    settings: Train,
    checkpoints: Path,
    loss_dir: Path,
    out: Path,
    new: Collection[str] | None = None,
    known: Collection[str] = (),
) -> Outcome:
    """Train an adapter on the model folder ``weights`` and save it into ``out``, unless the watch on the loss stopped it as failed.

    ``new``: identities of the conversations that are not replayed; None: of all. ``known``: of those that the base knew before,
    which are trained and say nothing of what was learnt. Training resumes from a checkpoint in ``checkpoints``, with the same result bit for bit on one device.

    Raises:
        InputError: no reply fits in train.max_seq_length, or memory does not suffice.
    """
    with memory.explained(settings):
        return _train(
            weights, conversations, chat, settings, checkpoints, loss_dir, out, new, known
        )


def _train(
    weights: Path,
    conversations: list[Conversation],
    chat: Chat,
    settings: Train,
    checkpoints: Path,
    loss_dir: Path,
    out: Path,
    new: Collection[str] | None,
    known: Collection[str],
) -> Outcome:
    started = time.monotonic()
    taught: list[Row] = []
    rows: list[Example] = []
    general: list[int] = []
    with Teaching(tokenizers.load(weights)) as teaching:
        for item in conversations:
            is_new = new is None or item.identity in new
            examples = teaching.examples(
                item.messages, chat.system_prompt, settings.max_seq_length, item.context
            )
            rows += examples
            general += [int(item.identity in known)] * len(examples)
            if item.identity in known:
                continue
            # The accepted answers are about the last reply.
            taught += [Row(one, is_new) for one in examples[:-1]]
            taught += [Row(one, is_new, item.expect) for one in examples[-1:]]
    if not taught:
        raise InputError(
            f"No reply fits in {settings.max_seq_length} tokens with its question, so there is nothing to learn: raise train.max_seq_length in params.yaml."
        )
    model, tokenizer = _load(weights, settings, max(len(row.ids) for row in rows))
    dataset = Dataset.from_dict(
        {
            "input_ids": [row.ids for row in rows],
            "labels": [row.labels for row in rows],
            "attention_mask": [[1] * len(row.ids) for row in rows],
            _GENERAL: general,
        }
    )
    lasting = Pace.of(settings, len(rows)) if pace.until_known(settings) else None
    shown = ShowProgress(
        loss_dir,
        Watch(settings.divergence_factor, settings.plateau_steps),
        lasting,
        visible=environment.is_first(),
    )
    trainer = _Trainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=dataset,
        args=_arguments(settings, checkpoints, pace.passes(settings, len(rows))),
        data_collator=DataCollatorForSeq2Seq(
            tokenizer, label_pad_token_id=IGNORED, pad_to_multiple_of=8
        ),
        callbacks=[shown],
    )
    trainer.general_kl = settings.general_kl
    recital: Recital | None = None
    if lasting:
        trainer.pace = lasting
        recital = Recital(taught, settings.seed, tokenizer.decode)
        tokens = sum(len(row.ids) for row in rows) / len(rows)
        a_step = tokens * settings.batch_size * settings.gradient_accumulation
        trainer.add_callback(Enough(lasting, recital, recital.every(a_step)))
    trainer.remove_callback(PrinterCallback)
    # A kill can leave a checkpoint without its state, or with a part of it: resume from the newest complete one.
    whole = {
        path: passed
        for path in checkpoints.glob("checkpoint-*")
        if (passed := _passes(path)) is not None
    }
    newest = max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
    passes = -whole[newest] if newest else 0.0
    training_seconds = trainer.train(
        resume_from_checkpoint=str(newest) if newest else None
    ).metrics["train_runtime"]
    passes += trainer.state.epoch or 0.0
    scale = 1.0
    if environment.is_first() and not (shown.stopped and shown.stopped.failed):
        if recital and settings.least_scale < 1.0:
            scale = _smaller(model, recital, settings.least_scale)
        model.save_pretrained(str(out), safe_serialization=True)
    cuda = torch.cuda.is_available()
    # ru_maxrss is kilobytes on Linux and bytes on macOS (getrusage(2)).
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    return Outcome(
        steps=trainer.state.global_step,
        losses=shown.losses,
        seconds=time.monotonic() - started + shown.before,
        tokens=(tokens := sum(len(row.ids) for row in rows)),
        training_seconds=training_seconds + shown.before,
        tokens_per_second=round(tokens * passes / training_seconds, 1),
        device=torch.cuda.get_device_name()
        if cuda
        else f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)",
        peak_memory=peak,
        peak_gpu_memory=torch.cuda.max_memory_reserved() if cuda else None,
        stopped=shown.stopped,
        scale=scale,
        **_end(shown.stopped, lasting),
    )


def _smaller(model: Any, recital: Recital, least: float) -> float:
    """Scale the adapter down while no less is known, and say to how much of its full scale."""
    scaled = Scaled(model)

    def share(scale: float) -> float:
        scaled.to(scale)
        return recital.share(model)

    scale = smallest(share, least)
    scaled.keep(scale)
    return scale


class _Trainer(SFTTrainer):
    """With a learning rate that follows ``pace`` where there is one.

    General replies are not learnt as the lessons are: so much times (``general_kl``) the divergence from the parent on
    them is added to the loss.
    """

    pace: Pace | None = None
    general_kl: float = 1.0

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Of a batch, as a mean over the tokens that are learnt."""
        general = inputs.pop(_GENERAL).bool()
        if not general.any():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        tokens = num_items_in_batch
        if tokens is None:
            tokens = (inputs["labels"] != IGNORED).sum()
        kept = {name: value[general] for name, value in inputs.items()}
        # Not by what wraps the model for several processes: that waits for the others at each call, and must be called
        # once in each, also where a batch has no lesson.
        loss = divergence.from_parent(self.accelerator.unwrap_model(model), kept)
        loss = self.general_kl * loss / tokens
        processes = self.accelerator.num_processes
        if num_items_in_batch is not None:  # of all processes, over which the loss is averaged
            loss = loss * processes
        if processes > 1 or not general.all():
            lessons = {name: value[~general] for name, value in inputs.items()}
            if general.all():
                nothing = torch.full_like(kept["labels"][:1], IGNORED)
                lessons = {name: value[:1] for name, value in kept.items()} | {"labels": nothing}
            loss = loss + super().compute_loss(model, lessons, False, tokens)
        return loss

    def create_scheduler(self, num_training_steps, optimizer=None):
        """As transformers' own, or by the pace."""
        if self.pace is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        own, followed = self.pace, optimizer or self.optimizer
        assert followed is not None  # made before its schedule
        self.lr_scheduler = LambdaLR(followed, lambda step: own.factor(step))
        self._created_lr_scheduler = True
        return self.lr_scheduler


def _end(stopped: Stop | None, lasting: Pace | None) -> dict[str, Any]:
    """Why the training ended, and what was known then."""
    if lasting is None:
        return {"ended": stopped.kind if stopped else STEPS}
    known = lasting.looks[max(lasting.looks)] if lasting.looks else None
    why = CEILING if lasting.known_at is None else KNOWN
    return {
        "ended": stopped.kind if stopped else why,
        "known": known,
        "known_at": lasting.known_at,
    }


def _load(weights: Path, settings: Train, longest: int) -> tuple[Any, Any]:
    """The model with a new adapter, and its tokenizer. ``longest``: tokens of an example."""
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(weights.resolve()),  # a path with one slash would be taken for a hub id
        max_seq_length=settings.max_seq_length,
        dtype=torch.bfloat16 if _bfloat16() else torch.float16,
        load_in_4bit=settings.load_in_4bit,
        use_exact_model_name=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    wanted = model_folder.targets(weights, settings.target_modules)
    # Unasked, unsloth lets a mixture's experts learn as soon as a module elsewhere is called as theirs are, and experts
    # cannot be merged.
    experts = model_folder.has_experts(read_json(weights / "config.json"))
    model = FastLanguageModel.get_peft_model(
        model,
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=wanted,
        bias="none",
        random_state=settings.seed,
        use_gradient_checkpointing="unsloth"
        if _needs_checkpoints(weights, settings, longest)
        else False,
        **({"target_parameters": []} if experts else {}),
    )
    _require_mergeable(model, weights)
    return model, tokenizer


def _needs_checkpoints(weights: Path, settings: Train, longest: int) -> bool:
    if not torch.cuda.is_available():
        return False
    shape = memory.Shape.of(
        read_json(weights / "config.json"),
        sum(math.prod(shape) for shape in model_folder.shapes(weights).values()),
    )
    return memory.checkpoints(shape, settings, longest, torch.cuda.mem_get_info()[0])


def _require_mergeable(model: Any, weights: Path) -> None:
    """Raises InputError, before the first step, where what would be trained is not what is merged later."""
    shapes = model_folder.shapes(weights)
    for key, tensor in model.named_parameters():
        if not tensor.requires_grad:
            continue
        name, side = adapter.part(key)
        shape = shapes.get(name, ())
        if len(shape) != 2 or shape["BA".index(side)] != tensor.shape["BA".index(side)]:
            raise InputError(
                f"An adapter on {name.removesuffix('.weight')} could not be merged into the base, which holds other weights there, so nothing was "
                "trained: name the modules without it in train.target_modules of params.yaml."
            )


def _passes(checkpoint: Path) -> float | None:
    """Passes over the data that a checkpoint has behind it, from the state that is written last of its files; None when that is not whole."""
    try:
        return float(
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["epoch"]
        )
    except (OSError, ValueError):
        return None


def _bfloat16() -> bool:
    """GPUs before Ampere have float16 only; every CPU has bfloat16, be it slowly."""
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported()


def _arguments(settings: Train, checkpoints: Path, passes: float) -> SFTConfig:
    return SFTConfig(
        output_dir=str(checkpoints.resolve()),
        num_train_epochs=passes,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        neftune_noise_alpha=settings.neftune_noise_alpha or None,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused" if torch.cuda.is_available() else "adamw_torch",
        max_length=settings.max_seq_length,
        packing=False,
        padding_free=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        bf16=_bfloat16(),
        fp16=not _bfloat16(),
        gradient_checkpointing=False,
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=settings.save_steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
