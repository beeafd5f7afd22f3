"""What a person would write without Luna: plain scripts, each a process of its own. Not imported by anything.

    python -m bench.bare_script unsloth|plain STEPS CONVERSATIONS BASE OUT     train an adapter; prints a JSON line
    python -m bench.bare_script convert ADAPTER BASE OUT                       merge by peft, convert and quantise by llama.cpp
    python -m bench.bare_script answer MODEL PROBES                            answer all probes, many at once
    python -m bench.bare_script all STEPS CONVERSATIONS BASE PROBES OUT        the three, one after another

The settings are those of params.yaml in the working folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from luna import params
from luna.conversations import schema
from luna.training import environment


def unsloth(steps: int, conversations: Path, base: Path, out: Path) -> dict:
    """Luna's own trainer, alone."""
    environment.prepare("cpu")
    from luna.training import trainer

    settings = params.load()
    chosen = schema.load_file(conversations)[: steps * settings.train.batch_size]
    found = trainer.train(base, chosen, settings.chat, settings.train.model_copy(update={"max_steps": steps}), out / "checkpoints", out / "loss", out / "adapter")
    return {"seconds": found.seconds, "tokens": found.tokens, "loss": found.loss_final}


def plain(steps: int, conversations: Path, base: Path, out: Path) -> dict:
    """The same data and settings by transformers, peft and trl, without unsloth."""
    environment.prepare("cpu")
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq
    from trl import SFTConfig, SFTTrainer

    from luna.conversations.template import IGNORED, tokenise

    settings = params.load()
    own = settings.train
    started = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.bfloat16)
    torch.manual_seed(own.seed)
    model = get_peft_model(model, LoraConfig(r=own.lora_rank, lora_alpha=own.lora_alpha, lora_dropout=own.lora_dropout, target_modules=own.target_modules, task_type="CAUSAL_LM"))
    rows = [tokenise(tokenizer, item.messages, settings.chat.system_prompt, own.max_seq_length) for item in schema.load_file(conversations)[: steps * own.batch_size]]
    data = Dataset.from_dict({"input_ids": [ids for ids, _ in rows], "labels": [labels for _, labels in rows], "attention_mask": [[1] * len(ids) for ids, _ in rows]})
    trainer = SFTTrainer(
        model=model, processing_class=tokenizer, train_dataset=data, data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED, pad_to_multiple_of=8),
        args=SFTConfig(
            output_dir=str(out / "trl"), max_steps=steps, per_device_train_batch_size=own.batch_size, gradient_accumulation_steps=own.gradient_accumulation,
            learning_rate=own.learning_rate, lr_scheduler_type=own.lr_scheduler, warmup_steps=own.warmup_ratio, weight_decay=own.weight_decay,
            neftune_noise_alpha=own.neftune_noise_alpha or None, max_grad_norm=own.max_grad_norm, optim="adamw_torch", max_length=own.max_seq_length, packing=False,
            dataset_kwargs={"skip_prepare_dataset": True}, bf16=True, gradient_checkpointing=False, seed=own.seed, data_seed=own.seed, logging_steps=1, save_strategy="no",
            report_to="none", disable_tqdm=True, dataloader_pin_memory=False, remove_unused_columns=False, use_cpu=True,
        ),
    )
    trainer.train()
    model.save_pretrained(str(out / "adapter"))
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {"seconds": time.monotonic() - started, "tokens": sum(len(ids) for ids, _ in rows), "loss": sum(losses[-max(1, steps // 10):]) / max(1, steps // 10)}


def convert(adapter: Path, base: Path, out: Path) -> dict:
    """peft's merge, llama.cpp's converter, llama.cpp's quantiser."""
    from luna.export import converter

    started = time.monotonic()
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.bfloat16), str(adapter)).merge_and_unload()
    merged.save_pretrained(str(out / "merged"))
    AutoTokenizer.from_pretrained(str(base)).save_pretrained(str(out / "merged"))
    found = {"merge": time.monotonic() - started}
    return found | by_hand(out / "merged", out, converter.script())


def by_hand(merged: Path, out: Path, script: Path) -> dict:
    """llama.cpp's converter and quantiser, called as its documentation says."""
    started = time.monotonic()
    subprocess.run([sys.executable, str(script), str(merged), "--outtype", "bf16", "--outfile", str(out / "16.gguf")], check=True, capture_output=True)
    import llama_cpp

    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    if llama_cpp.llama_model_quantize(str(out / "16.gguf").encode(), str(out / "model.gguf").encode(), options):
        raise SystemExit("llama.cpp could not quantise")
    return {"convert": time.monotonic() - started}


def answer(model: Path, asked: Path) -> dict:
    from luna.answering.engine import Engine
    from luna.conversations import probes
    from luna.conversations.template import with_system

    settings = params.load()
    started = time.monotonic()
    with Engine(model, settings.evaluate.parallel) as engine:
        prompts = [engine.prompt(with_system(probe.messages, settings.chat.system_prompt)) for probe in probes.load(asked)]
        engine.answer(prompts, settings.evaluate.max_tokens)
    return {"seconds": time.monotonic() - started, "probes": len(prompts)}


def everything(steps: int, conversations: Path, base: Path, asked: Path, out: Path) -> dict:
    trained = unsloth(steps, conversations, base, out)
    shipped = convert(out / "adapter", base, out)
    return {"train": trained["seconds"], **shipped, "answer": answer(out / "model.gguf", asked)["seconds"]}


def main() -> None:
    what, *rest = sys.argv[1:]
    run = {"unsloth": unsloth, "plain": plain, "convert": convert, "answer": answer, "all": everything}[what]
    found = run(*(int(text) if text.isdigit() else Path(text) for text in rest))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
