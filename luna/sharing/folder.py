"""`luna export`: a sealed generation as a folder for other tools, complete or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from luna import artifacts, files
from luna.history.line import artifact, read_line, sealed_outs, sealed_params
from luna.repo.git import Git
from luna.sharing import ollama
from luna.storage import objects

PLAIN, OLLAMA, LMSTUDIO, HF, HF_ADAPTER = "plain", "ollama", "lmstudio", "hf", "hf-adapter"


def export(root: Path, prefix: str, name: str, to: Path, kind: str) -> Path:
    """Write the folder ``to`` and return where in it the model lies.

    ``plain`` is the artifact set; ``ollama`` the same with a Modelfile; ``lmstudio`` the model alone, as
    publisher/model/file; ``hf`` and ``hf-adapter`` are for Hugging Face's libraries (see hub.py).

    Raises:
        InputError: ``to`` is there and not empty, or there is no adapter to give out.
        ColdStorageError: no intact copy of a file of the generation is left.
    """
    with files.new_folder(to) as scratch:
        if kind == LMSTUDIO:
            inside = Path(prefix.lower()) / name / f"{name}.gguf"
            _copy(artifact(root, name, artifacts.MODEL), scratch / inside)
        elif kind in (HF, HF_ADAPTER):
            from luna.sharing import hub

            inside = Path()
            (hub.write_merged if kind == HF else hub.write_adapter)(
                root, read_line(root, prefix), name, scratch
            )
        else:
            inside = Path(artifacts.MODEL.name)
            _artifact_set(root, name, scratch)
            if kind == OLLAMA:
                system = sealed_params(read_line(root, prefix).git, name).chat.system_prompt
                files.write_text(scratch / "Modelfile", ollama.modelfile(scratch / inside, system))
    return to / inside


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _artifact_set(root: Path, name: str, target: Path) -> None:
    outs = sealed_outs(root.resolve(), name)
    for path in (*artifacts.HASHED, artifacts.HASHES, artifacts.WEIGHTS_SHA256):
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
            _copy(
                artifact(root, name, Path(file)), target / Path(file).relative_to(artifacts.MODELS)
            )
