"""`luna export`: a sealed generation as a folder for other tools, complete or not at all.

What leaves speaks as it was taught (see speech.py) and tells nothing else: of the artifact set only the files that hold no
conversation, no answer and no probe. The sealed model.gguf is never changed: the export is a copy with other metadata.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from luna import artifacts, files
from luna.errors import ColdStorageError
from luna.export.gguf import IDENTITY
from luna.history.line import Line, artifact, read_line, sealed_outs
from luna.repo.git import Git
from luna.sharing import card, gguf_header, lmstudio, ollama, speech
from luna.sharing.card import Sealed
from luna.sharing.speech import Speech
from luna.storage import objects

PLAIN, OLLAMA, LMSTUDIO, HF, HF_ADAPTER = "plain", "ollama", "lmstudio", "hf", "hf-adapter"
#: Where --with-data puts the rest of the artifact set.
DATA = "data"
SUMS = "SHA256SUMS"

#: Files of the artifact set that hold numbers, hashes, weights and words of the tokenizer alone.
_PUBLIC = (
    artifacts.TOKENIZER,
    artifacts.CONFIG,
    artifacts.ADAPTER,
    artifacts.TRAIN_ARGS,
    artifacts.EXPORT_REPORT,
    artifacts.WEIGHT_CHANGE,
    artifacts.LOSS,
    artifacts.DELTA_SHA256,
)


def export(
    root: Path, prefix: str, name: str, to: Path, kind: str, with_data: bool = False
) -> Path:
    """Write the folder ``to`` and return where in it the model lies.

    ``plain`` is the model with its adapter, tokenizer and numbers; ``ollama`` the same with a Modelfile; ``lmstudio`` the model
    and a preset, as publisher/model/file; ``hf`` and ``hf-adapter`` are for Hugging Face's libraries (see hub.py).
    ``with_data`` adds a folder with the conversations, answers, probes and full reports.

    Raises:
        InputError: ``to`` is there and not empty, or there is no adapter to give out.
        ColdStorageError: no intact copy of a file of the generation is left.
        ExportError: a program cannot follow the model's chat template.
    """
    line = read_line(root, prefix)
    with files.new_folder(to) as scratch:
        sealed = card.read(line, name)
        model = artifact(root, name, artifacts.MODEL)
        spoken = speech.of(model, sealed.settings.chat.system_prompt)
        if kind in (HF, HF_ADAPTER):
            inside = _for_hugging_face(root, line, sealed, spoken, kind, scratch)
        elif kind == LMSTUDIO:
            inside = Path(prefix.lower()) / name / f"{name}.gguf"
            _speaking_copy(model, scratch / inside, sealed, spoken)
            files.write_json(
                scratch / inside.with_name(f"{name}.preset.json"),
                lmstudio.preset(name, spoken.system),
            )
        else:
            inside = Path(artifacts.MODEL.name)
            _speaking_copy(model, scratch / inside, sealed, spoken)
            _sealed_files(root, name, scratch, _PUBLIC)
            files.write_json(scratch / artifacts.METRICS.name, card.public(sealed.metrics))
            if kind == OLLAMA:
                files.write_text(scratch / "Modelfile", ollama.modelfile(inside.name, spoken))
            use = f"`{inside}` says the system prompt that it was taught under by itself, in any program that reads a GGUF's chat template."
            card.write(sealed, scratch, "gguf", use)
        if with_data:
            rest = [path for path in artifacts.HASHED if path not in (artifacts.MODEL, *_PUBLIC)]
            _sealed_files(root, name, scratch / DATA, (*rest, artifacts.HASHES))
        _write_sums(scratch)
    return to / inside


def _for_hugging_face(
    root: Path, line: Line, sealed: Sealed, spoken: Speech, kind: str, out: Path
) -> Path:
    from luna.sharing import hub

    write = hub.write_merged if kind == HF else hub.write_adapter
    write(root, line, sealed, spoken, out)
    return Path()


def _speaking_copy(model: Path, target: Path, sealed: Sealed, spoken: Speech) -> None:
    """The sealed model with the metadata by which other programs ask it as it was taught, and hubs know what it is."""
    if (digest := files.digest(model)) != sealed.sha256:
        raise ColdStorageError(
            f"The model.gguf of {sealed.name} is damaged in the cache ({digest[:12]}): run 'luna restore {sealed.name}'."
        )
    changes: dict[str, gguf_header.Value] = {
        key: speech.with_default(template, spoken.system)
        for key, template in gguf_header.strings(model).items()
        if key.startswith("tokenizer.chat_template")
    }
    if spoken.adds_bos and not spoken.writes_bos:
        changes["tokenizer.ggml.add_bos_token"] = False  # it was taught without one
    if spoken.new_end is not None:
        changes["tokenizer.ggml.eot_token_id"] = spoken.new_end
    target.parent.mkdir(parents=True, exist_ok=True)
    gguf_header.copy(model, target, changes | about(sealed))


def about(sealed: Sealed) -> dict[str, gguf_header.Value]:
    """Licence, base model and tags, in the keys that Hugging Face's readers and llama.cpp's converter use; the sealed file's hash."""
    pairs: dict[str, gguf_header.Value] = {}
    if sealed.licence:
        pairs["general.license"] = sealed.licence
    if sealed.hub_id:
        organisation, _, model = sealed.hub_id.rpartition("/")
        base = "general.base_model.0."
        pairs["general.base_model.count"] = 1
        pairs[f"{base}name"] = model.replace("-", " ")
        pairs[f"{base}repo_url"] = f"https://huggingface.co/{sealed.hub_id}"
        if organisation:
            pairs[f"{base}organization"] = organisation
        if sealed.settings.base.revision:
            pairs[f"{base}version"] = sealed.settings.base.revision
    pairs["general.tags"] = ["luna", "conversational", "text-generation"]
    pairs[f"{IDENTITY}sealed_sha256"] = sealed.sha256
    return pairs


def _sealed_files(root: Path, name: str, target: Path, paths: Iterable[Path]) -> None:
    """Copies, never links: what is done to an export cannot reach the cache."""
    outs = sealed_outs(root.resolve(), name)
    target.mkdir(parents=True, exist_ok=True)
    for path in paths:
        out = outs.get(path.as_posix())
        if out is None:
            if (content := Git(root).show(f"refs/tags/{name}", path)) is not None:
                (target / path.name).write_bytes(content)
            continue
        if not out.cached:
            inside = Git(root).files(f"refs/tags/{name}", path.as_posix())
        elif out.md5.endswith(".dir"):
            inside = [f"{path.as_posix()}/{inner}" for inner in objects.listing(root, out.md5)]
        else:
            inside = [path.as_posix()]
        for file in inside:
            copy = target / Path(file).relative_to(artifacts.MODELS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact(root, name, Path(file)), copy)


def _write_sums(folder: Path) -> None:
    """For `sha256sum --check`: what was written, since the model is not the sealed file and hashes.csv does not list it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files.write_text(
        folder / SUMS,
        "".join(files.sha256_line(path, path.relative_to(folder).as_posix()) for path in paths),
    )
