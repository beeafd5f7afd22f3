"""A preset for LM Studio: the system prompt and the temperature that a generation was judged with.

The keys are those of the presets that LM Studio saves itself (https://lmstudio.ai/docs/app/presets).
"""

from __future__ import annotations

from typing import Any


def preset(name: str, system: str) -> dict[str, Any]:
    """What NAME.preset.json holds; LM Studio imports it ("Import preset from file")."""
    fields: list[dict[str, Any]] = [{"key": "llm.prediction.temperature", "value": 0}]
    if system:
        fields.insert(0, {"key": "llm.prediction.systemPrompt", "value": system})
    return {
        "identifier": f"@local:{name.lower()}",
        "name": name,
        "changed": False,
        "operation": {"fields": fields},
        "load": {"fields": []},
    }
