"""The YAML front matter of MODEL_CARD.md, which model hubs read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luna.names import BASE_PARENT
from luna.scores import SCORES, shown

TASK = "text-generation"


def front_matter(
    metrics: Mapping[str, Any],
    base_model: str | None,
    licence: str | None,
    quantization: str,
    library: str = "gguf",
) -> str:
    """YAML between its two fences; ``base_model`` and ``licence`` are None where the base does not tell.

    ``library``: what loads the files beside it, gguf, transformers or peft.

    The metrics stand in it as a model-index (https://huggingface.co/docs/hub/model-cards#evaluation-results).
    What could not be measured is left out.
    """
    from huggingface_hub import EvalResult, ModelCardData

    name, scores = metrics["generation"]["name"], metrics["evaluation"]
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type="luna-probes",
            dataset_name="The line's own probes",
            dataset_args={
                "probe_set_sha256": metrics["data"]["probe_set_sha256"],
                "probes": scores["intervals"][score.name]["n"],
            },
            metric_type=score.metric,
            metric_name=score.title,
            metric_value=float(shown(scores[score.key])),
        )
        for score in SCORES
        if scores.get(score.key) is not None
    ]
    first = metrics["generation"]["parent"] == BASE_PARENT
    format = ["gguf", quantization] if library == "gguf" else []
    relation = "adapter" if library == "peft" else "finetune"
    if first and library == "gguf":
        relation = "quantized"
    data = ModelCardData(
        license=licence,
        base_model=base_model,
        pipeline_tag=TASK,
        library_name=library,
        tags=["luna", *format, "conversational", *([] if first else ["lora"])],
        model_name=name,
        eval_results=results or None,
        base_model_relation=relation if base_model else None,
    )
    return f"---\n{data.to_yaml(line_break=chr(10))}\n---\n"
