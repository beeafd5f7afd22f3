"""Trains what a generation was trained on with transformers and peft alone: unsloth's baseline.

    python -m bench.plain REPO

The baseline for unsloth: the same weights, conversations, tokens, order and settings. Prints one line of JSON:
training_seconds, tokens_per_second, steps, loss_final, peak_memory and peak_gpu_memory (bytes), device.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

EPOCHS = 2.5  # where settings.max_steps does not say how many steps


def train(weights: Path, conversations: list, chat: Any, settings: Any) -> dict[str, Any]:
    """``chat`` and ``settings`` are those of luna.params. The device is CUDA where torch finds it."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import (
        AutoModelForCausalLM,
        BitsAndBytesConfig,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    from luna.conversations.examples import IGNORED, Teaching
    from luna.model import folder as model_folder
    from luna.model import tokenizer as tokenizers

    cuda = torch.cuda.is_available()
    tokenizer = tokenizers.load(weights)
    four = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        if settings.load_in_4bit
        else None
    )
    model = AutoModelForCausalLM.from_pretrained(
        str(weights),
        dtype=torch.bfloat16,
        local_files_only=True,
        quantization_config=four,
        device_map={"": 0} if cuda else None,
    )
    if four:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=cuda)
    elif cuda:
        model.enable_input_require_grads()  # or checkpoints of frozen embeddings carry no gradient
    model = get_peft_model(
        model,
        LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=model_folder.targets(weights, settings.target_modules),
            bias="none",
            task_type="CAUSAL_LM",
        ),
    )
    with Teaching(tokenizer) as teaching:
        rows = [
            example
            for item in conversations
            for example in teaching.examples(
                item.messages, chat.system_prompt, settings.max_seq_length, item.context
            )
        ]
    dataset = Dataset.from_dict(
        {
            "input_ids": [row.ids for row in rows],
            "labels": [row.labels for row in rows],
            "attention_mask": [[1] * len(row.ids) for row in rows],
        }
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            train_dataset=dataset,
            data_collator=DataCollatorForSeq2Seq(
                tokenizer, label_pad_token_id=IGNORED, pad_to_multiple_of=8
            ),
            args=TrainingArguments(
                output_dir=scratch,
                num_train_epochs=EPOCHS,
                max_steps=settings.max_steps,
                per_device_train_batch_size=settings.batch_size,
                gradient_accumulation_steps=settings.gradient_accumulation,
                learning_rate=settings.learning_rate,
                lr_scheduler_type=settings.lr_scheduler,
                warmup_steps=settings.warmup_ratio,
                weight_decay=settings.weight_decay,
                neftune_noise_alpha=settings.neftune_noise_alpha or None,
                max_grad_norm=settings.max_grad_norm,
                optim="adamw_torch",
                bf16=True,
                gradient_checkpointing=cuda,
                seed=settings.seed,
                data_seed=settings.seed,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
                remove_unused_columns=False,
                use_cpu=not cuda,
            ),
        )
        seconds = trainer.train().metrics["train_runtime"]
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    tail = losses[-max(1, len(losses) // 10) :]
    return {
        "training_seconds": round(seconds, 2),
        "tokens_per_second": round(
            sum(len(row.ids) for row in rows) * trainer.state.epoch / seconds, 1
        ),
        "steps": trainer.state.global_step,
        "loss_final": round(sum(tail) / len(tail), 4),
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_gpu_memory": torch.cuda.max_memory_reserved() if cuda else None,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
    }


def main() -> None:
    from luna import artifacts, params
    from luna.conversations import schema
    from luna.history import build as builds
    from luna.history.adapters import WEIGHTS_SCRATCH, of_parent
    from luna.model import weights
    from luna.training import environment

    repo = Path(sys.argv[1])
    settings = params.load(repo)
    environment.prepare(settings.train.device)
    build = builds.of_stage(repo, settings)
    parent = weights.rebuild(of_parent(repo, build), repo / WEIGHTS_SCRATCH)
    print(
        json.dumps(
            train(
                parent.resolve(),
                schema.load_file(repo / artifacts.TRAINING_SET),
                settings.chat,
                settings.train,
            )
        )
    )


if __name__ == "__main__":
    main()
