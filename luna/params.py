"""params.yaml, parsed once into typed and checked models.

It is the one place for a default: every key must be in the file, except those that may be absent by their meaning
(``target`` of a clause, a setting of a try, the notify command). An unknown key is an error, never ignored; a
value must be of the very type, so that ``true`` is not a number and ``yes`` not a boolean. Parameters of generations
that are sealed already are read by luna/sealed_parameters.py.
"""

from __future__ import annotations

import functools
import math
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from luna import artifacts, files, strict_yaml
from luna.errors import InputError, StateError
from luna.names import BASE_PARENT, GenerationName
from luna.scores import SCORES

MAX_SEED = 2**32 - 1  # what NumPy and PyTorch take

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Auto = Literal["auto"]  # by the data: the code says how
LEAST_CONTEXT = 256  # tokens of a conversation and its answer


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LineSettings(_Section):
    """``prefix``: what the names of all generations begin with. ``keyframe_every``: how many adapters are added to one keyframe at most."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    keyframe_every: Positive


class Generation(_Section):
    """The generation being built. Written by ``luna new``; null before the first."""

    name: str | None
    parent: str | None

    @property
    def identity(self) -> GenerationName:
        """The name of the generation that is being built. Raises StateError where none was started."""
        if self.name is None:
            raise StateError(
                "No generation has been started: run 'luna new' (or 'luna evolve', which does all steps)."
            )
        return GenerationName.parse(self.name)

    @property
    def is_ancestor(self) -> bool:
        """Whether this is generation 0: the base itself, taught nothing."""
        return self.parent_name is None

    @property
    def parent_name(self) -> GenerationName | None:
        """The generation that this one descends from; None for generation 0."""
        if self.parent is None or self.parent == BASE_PARENT:
            return None
        return GenerationName.parse(self.parent)

    @property
    def origin(self) -> str:
        """The parent as a seal names it: a generation's full name, or ``base``."""
        return self.parent or BASE_PARENT


class Base(_Section):
    """The base model: a folder, a hub's name, or the packaged one."""

    source: str
    revision: str | None


class Chat(_Section):
    """How the model is addressed."""

    system_prompt: str


class Data(_Section):
    """What a generation learns, replays and holds out."""

    replay_samples: Count
    general_replay: Fraction
    seed: int
    probes_per_kind: Positive
    hold_out: Fraction
    augment: Literal["none", "rules", "model"]
    batches: Literal["flat", "folder"]
    batch_size: Count


class Train(_Section):
    """How the adapter is trained."""

    epochs: Annotated[float, Field(gt=0)] | Auto
    stop_when_known: Fraction
    least_scale: Fraction
    general_kl: Annotated[float, Field(gt=0)]
    max_steps: Annotated[int, Field(ge=-1)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    warmup_ratio: Fraction
    batch_size: Positive
    gradient_accumulation: Positive
    max_seq_length: Positive
    lora_rank: Positive
    lora_alpha: Positive
    lora_dropout: Fraction
    target_modules: list[str] | Auto
    weight_decay: Annotated[float, Field(ge=0)]
    neftune_noise_alpha: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    load_in_4bit: bool
    device: Literal["auto", "cpu", "cuda"]
    processes: Positive
    save_steps: Positive
    divergence_factor: Annotated[float, Field(gt=1)]
    plateau_steps: Count
    seed: int


class Fidelity(_Section):
    """How well the exported model must agree with the 16-bit one."""

    prompts: Positive
    min_agreement: Fraction
    max_divergence: Annotated[float, Field(gt=0)]


class Export(_Section):
    """How the model is quantised."""

    quantization: Literal["BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"]
    changed_tensor_threshold: Annotated[float, Field(ge=0)]
    fidelity: Fidelity


class Evaluate(_Section):
    """How the exam is held."""

    max_tokens: Positive | Auto
    parallel: Annotated[int, Field(ge=1, le=64)]
    chrf_min: Annotated[float, Field(ge=0, le=100)]
    seed: int


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
    """The rule that promotes or denies. ``ability`` None: it is measured, and decides nothing."""

    recall: Clause
    generalisation: Clause
    tone_drift: Clause
    ability: Clause | None
    min_probes: Positive | Auto


class Maturity(_Section):
    """A line is mature when ``generations`` promoted generations in a row are at or below both bounds."""

    generations: Positive
    weight_change_percent: Annotated[float, Field(ge=0, le=100)]
    score_gain: Fraction


class Cold(_Section):
    """Where cold storage is and what it holds.

    ``keep``: which generations keep their GGUF there; the others' is made again when it is wanted.
    ``remotes``: names of DVC remotes, none for the default one; ``copies``: in how many of them a
    generation must have been read back before it counts as archived.
    """

    keep: Annotated[str, Field(pattern=r"^(all|promoted|head|last:[1-9][0-9]*)$")]
    copies: Positive
    remotes: list[str]

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

    max_denials: Positive
    min_free_gb: Annotated[float, Field(ge=0)]


class AgeUp(_Section):
    """What new conversations must be worth before a host application may have a generation built."""

    karma_required: Annotated[float, Field(ge=0)]


class Serve(_Section):
    """How the models answer programs. ``context``: tokens of a conversation and its answer."""

    context: Annotated[int, Field(ge=LEAST_CONTEXT)] | Auto


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
    """The user's own program, which gets each event."""

    command: str | None = None


class Params(_Section):
    """All of params.yaml."""

    line: LineSettings
    generation: Generation
    base: Base
    chat: Chat
    data: Data
    train: Train
    export: Export
    evaluate: Evaluate
    promotion: Promotion
    maturity: Maturity
    cold: Cold
    evolve: Evolve
    age_up: AgeUp
    serve: Serve
    retry: list[Try]
    notify: Notify


def parse(document: Any, where: str) -> Params:
    """Raises InputError naming file, key, value and what is allowed."""
    settings = validated(document, where, strict=True)
    if wrong := next(_contradictions(settings), None):
        raise InputError(f"{where}: {wrong}.")
    return settings


def validated(
    document: Any, where: str, strict: bool, model: type[BaseModel] | None = None
) -> Params:
    """By the types and ranges of the models alone. ``strict`` False: ``"3"`` and ``true`` pass as numbers.

    ``model``: of some sections alone; None: all of Params.
    """
    try:
        given = document if document is not None else {}
        return cast(Params, (model or Params).model_validate(given, strict=strict))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A misspelt key is also a missing one: the misspelling says more.
        first = next((one for one in errors if one["type"] != "missing"), errors[0])
    except RecursionError:
        raise InputError(f"{where}: a value refers to itself.") from None
    location = [part for part in first["loc"] if part not in _BRANCHES]
    key = ".".join(str(part) for part in location) or "the document"
    if first["type"] == "extra_forbidden":
        raise InputError(f"{where}: unknown parameter '{key}'; {_allowed(first['loc'])}.")
    if first["type"] == "missing":
        raise InputError(
            f"{where}: {key} is missing: every parameter must be in the file, so add it again "
            f"('git log -p {artifacts.PARAMS}' shows what it was)."
        )
    message = first["msg"][:1].lower() + first["msg"][1:]
    if len(location) < len(first["loc"]):
        message += ", or auto"
    raise InputError(f"{where}: {key} = {_shown(first.get('input'))} is not allowed: {message}.")


#: How pydantic names the sides of "a number, or auto" in the place of an error.
_BRANCHES = {"constrained-int", "constrained-float", "list[str]", "literal['auto']"}


def _shown(value: Any) -> str:
    """A value in few characters, however large: aliases can make one of a few lines endless."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 2, 60, 60, 40
    return short.repr(value)


def _contradictions(settings: Params) -> Iterator[str]:
    """What no type can say: numbers that are none, seeds, the sides of a bound, settings that exclude each other."""
    for key, value in _leaves("", settings):
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{key} = {value} is not allowed: it must be a finite number"
        if key.endswith(".seed") and not 0 <= value <= MAX_SEED:
            yield f"{key} = {_shown(value)} is not allowed: it must be a whole number from 0 to {MAX_SEED}"
    for score in SCORES:
        if (clause := getattr(settings.promotion, score.name)) is not None:
            yield from _wrong_bound(f"promotion.{score.name}", clause, score.name)
    modules = settings.train.target_modules
    if modules != "auto" and (not modules or len(set(modules)) != len(modules)):
        yield (
            f"train.target_modules = {_shown(modules)} is not allowed: it must be auto, or name modules of the "
            "base's layers, such as q_proj, each once"
        )
    if settings.train.load_in_4bit and settings.train.device == "cpu":
        yield "train.load_in_4bit = True is not allowed with train.device = 'cpu': it needs a CUDA GPU"


def _wrong_bound(key: str, clause: Clause, name: str) -> Iterator[str]:
    """A score that should be high has a minimum, a drift a maximum; a target is no easier than the bound."""
    side, other = ("maximum", "minimum") if name == "tone_drift" else ("minimum", "maximum")
    bound = getattr(clause, side)
    if bound is None:
        yield f"{key}.{other} = {getattr(clause, other)} is not allowed: give a {side}"
    elif clause.target is not None and (
        clause.target < bound if side == "minimum" else clause.target > bound
    ):
        least = "at least" if side == "minimum" else "at most"
        yield f"{key}.target = {clause.target} is not allowed: it must be {least} the {side}, {bound}"


def _leaves(prefix: str, section: BaseModel) -> Iterator[tuple[str, Any]]:
    for name, value in section:
        key = f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from _leaves(f"{key}.", value)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from _leaves(f"{key}.{index}.", item) if isinstance(item, BaseModel) else ()
        else:
            yield key, value


def _allowed(location: tuple[Any, ...]) -> str:
    model: Any = Params
    for part in location[:-1]:
        model = get_args(model)[0] if isinstance(part, int) else model.model_fields[part].annotation
    return "known here are " + ", ".join(model.model_fields)


class _Sections:
    """Sections of params.yaml; reading another one is a mistake in the stage, because its entry in dvc.yaml does not name it."""

    def __init__(self, whole: Params, names: tuple[str, ...]) -> None:
        self.__dict__.update({name: getattr(whole, name) for name in names})


def sections(*names: str, root: Path = Path()) -> Params:
    """The named sections alone, for a stage: nothing else of params.yaml is checked, so nothing else can change what it makes.

    Raises InputError as ``load`` does. To ask the result for another section raises AttributeError.
    """
    where = str(artifacts.PARAMS)
    document = strict_yaml.load(_read(root / artifacts.PARAMS), where)
    chosen = document
    if isinstance(document, dict):
        chosen = {name: document[name] for name in names if name in document}
    fields: dict[str, Any] = {name: (Params.model_fields[name].annotation, ...) for name in names}
    model = create_model("Sections", __config__=Params.model_config, **fields)
    return cast(Params, _Sections(validated(chosen, where, True, model), names))


def load(root: Path = Path()) -> Params:
    """Read and check params.yaml. Raises InputError, with file, key, value and what is allowed."""
    return _parsed(_read(root / artifacts.PARAMS))


def _read(path: Path) -> bytes:
    try:
        with files.opened(path, str(artifacts.PARAMS)) as file:
            data = file.read(strict_yaml.MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(
            f"{artifacts.PARAMS} is missing in {path.parent.resolve()}: 'git restore {artifacts.PARAMS}' brings it back in a Luna repository; elsewhere, run the command inside one."
        ) from None
    return data


@functools.lru_cache(maxsize=8)
def _parsed(data: bytes) -> Params:
    return parse(strict_yaml.load(data, str(artifacts.PARAMS)), str(artifacts.PARAMS))


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
