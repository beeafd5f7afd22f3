"""`luna rebuild`: makes 16-bit weights and model.gguf again from base and adapters."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from luna import artifacts, files
from luna.errors import ColdStorageError, ExportError, LunaError
from luna.export import differences, shipping, toolchain
from luna.history import keyframes
from luna.history.adapters import recipe
from luna.history.line import Line, Out, read_line, sealed_outs, sealed_params
from luna.model import adapter, weights
from luna.model.adapter import Adapter
from luna.model.merge import Recipe
from luna.names import GenerationName
from luna.storage import objects

_FOLDER = artifacts.SCRATCH / "rebuild"
_TOOLS = artifacts.SCRATCH / "tools"
_CONVERTER_CODE = "luna/export/converter.py"


@dataclass(frozen=True)
class Rebuilt:
    """``weights`` (a folder of safetensors) and ``model`` lie in scratch; ``expected`` is the ledger's SHA-256 of model.gguf."""

    name: str
    weights: Path
    model: Path
    sha256: str
    expected: str
    tools: str
    seconds: float
    differences: list[differences.Difference] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether it came out bit for bit."""
        return self.sha256 == self.expected


@contextlib.contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A new folder on the workspace's own file system, gone at the end: what is made in it can be moved or linked from there."""
    (root / _FOLDER).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / _FOLDER) as folder:
        yield Path(folder)


def model_out(root: Path, name: str) -> Out:
    """The recorded model.gguf of a generation."""
    return sealed_outs(root.resolve(), name)[artifacts.MODEL.as_posix()]


def rebuild(
    root: Path, line: Line, name: str, scratch: Path, say: Callable[[str], None] = lambda text: None
) -> Rebuilt:
    """Rebuild into ``scratch``, which may hold what an earlier rebuild on this line left there, by the rule that the generation was sealed under.

    Every byte that is read has its recorded hash, or is fetched again from cold storage. If the
    result is not the recorded file, and that file is available, they are compared tensor by tensor.

    Raises:
        ColdStorageError: no intact copy of the base or of an adapter is left.
        ExportError: the recorded tools cannot be found or built, or an adapter and the base do not belong together.
    """
    started = time.monotonic()
    root = root.resolve()
    report, code = line.git.cat(
        [
            f"refs/tags/{name}:{artifacts.EXPORT_REPORT.as_posix()}",
            f"refs/tags/{name}:{_CONVERTER_CODE}",
        ]
    )
    settings = sealed_params(line.git, name)
    [row] = [row for row in line.ledger() if row.gen == GenerationName.parse(name).number]
    tools = toolchain.choose(
        toolchain.recorded(json.loads(report or b"{}"), (code or b"").decode()),
        shipping.installed(),
        root / _TOOLS,
        say,
    )

    base = base_of(root, line, name, scratch)
    merged = merge(parts(root, line, name, scratch), scratch, say)
    say("converting and quantising")
    target = scratch / "shipped" / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    identity = shipping.identity(settings, weights.key(base), row.data_delta_sha256, tools)
    shipped = shipping.ship(merged, settings, identity, target, tools)
    shipped.sixteen.unlink()
    model = target / artifacts.MODEL.name
    shipped.quantised.rename(model)
    digest = files.digest(model)
    unlike = [] if digest == row.weights_sha256 else _differences(root, name, model)
    return Rebuilt(
        name,
        merged,
        model,
        digest,
        row.weights_sha256,
        f"llama-cpp-python {tools.version}, converter {tools.converter_sha256}",
        time.monotonic() - started,
        unlike,
    )


def copy_out(rebuilt: Rebuilt, target: Path) -> None:
    """Copy the weights and the GGUF to the folder ``target``, over what an earlier rebuild put there."""
    shutil.rmtree(target / "weights", ignore_errors=True)
    shutil.copytree(rebuilt.weights, target / "weights")
    shutil.copyfile(rebuilt.model, target / artifacts.MODEL.name)


def parts(root: Path, line: Line, name: str, scratch: Path) -> Recipe:
    """What a generation's 16-bit weights are made of, every byte of it checked; ``scratch`` holds its folders.

    Raises:
        ColdStorageError: no intact copy of a part is left.
        ExportError: the line was built on two bases.
        StateError: the line is broken, or a record in it cannot be read.
    """
    made = keyframes.made_of(line, name)
    fixed = base_of(root, line, name, scratch)
    if made.keyframe:
        fixed = _folder_at(root, name, artifacts.KEYFRAME, "keyframe", scratch)
    return recipe(made.rule, fixed, [_adapter(root, name, one) for one in made.generations])


def adapters_on_base(root: Path, line: Line, name: str) -> list[Adapter]:
    """The adapters of a generation and of all its ancestors, oldest first, whether or not keyframes lie between."""
    return [_adapter(root, name, one) for one in line.ancestors(name)[1:]]


def merge(made: Recipe, scratch: Path, say: Callable[[str], None] = lambda text: None) -> Path:
    """The 16-bit weights, a model folder in ``scratch`` (or the fixed point itself, if nothing was taught since)."""
    taught = sum(len(some) for some in made.taught.rounds)
    on = "the base" if made.fixed.name == artifacts.BASE.name else "the keyframe"
    say(f"merging {taught} adapters into {on}" if taught else f"{on} as it is")
    merged = weights.rebuild(made, scratch / "weights")
    weights.prune(scratch / "weights")
    return merged


def remaker(
    root: Path, prefix: str, scratch: Path, say: Callable[[str], None]
) -> Callable[[str, str], Path | None]:
    """For a repair: a function that makes a generation's model.gguf, or a file of its keyframe, again.

    It returns None, after printing the reason, where that is impossible.
    """
    made: dict[tuple[str, str], Path | None] = {}

    def tell(text: str) -> None:
        say(f"rebuild: {text}")

    def remake(name: str, path: str) -> Path | None:
        known = made.get((name, path))
        if (name, path) in made and (known is None or known.is_file()):
            return known
        try:
            line = read_line(root, prefix)
            if path == artifacts.MODEL.as_posix():
                made[name, path] = rebuild(root, line, name, scratch, tell).model
            else:
                made[name, path] = _keyframe(root, line, name, scratch, tell) / Path(path).name
        except LunaError as error:
            say(f"luna: {path} of {name} cannot be rebuilt: {error}")
            made[name, path] = None
        return made[name, path]

    return remake


def _keyframe(root: Path, line: Line, name: str, scratch: Path, say: Callable[[str], None]) -> Path:
    """The weights that the adapters of ``name`` are added to, made again from what they were made of."""
    keyframe = keyframes.made_of(line, name).keyframe
    if keyframe is None:
        return base_of(root, line, name, scratch)
    return merge(parts(root, line, keyframe.name, scratch), scratch, say)


def _differences(root: Path, name: str, model: Path) -> list[differences.Difference]:
    try:
        recorded, _ = objects.whole(root, model_out(root, name).md5)
    except ColdStorageError:
        return [
            differences.Difference(
                "file",
                "the recorded file is neither in the cache nor in cold storage, so the tensors cannot be compared",
            )
        ]
    return differences.differences(recorded, model) or [
        differences.Difference(
            "file", "metadata and tensors are equal; only their order in the file differs"
        )
    ]


def base_of(root: Path, line: Line, name: str, scratch: Path) -> Path:
    """The base's folder. Raises ExportError where a generation between the keyframe and ``name`` was built on another one."""
    wanted = sealed_outs(root, name)[artifacts.BASE.as_posix()].md5
    for one in keyframes.made_of(line, name).generations:
        other = sealed_outs(root, one)[artifacts.BASE.as_posix()].md5
        if other != wanted:
            raise ExportError(
                f"{one} was built on another base ({other[:12]}) than {name} ({wanted[:12]}): what was merged into one cannot be rebuilt from the other."
            )
    return _folder_at(root, name, artifacts.BASE, "base", scratch)


def _folder_at(root: Path, name: str, path: Path, word: str, scratch: Path) -> Path:
    """A folder of ``name`` under the name that the export stage knows it by; links to checked objects."""
    wanted = sealed_outs(root, name)[path.as_posix()].md5
    folder = scratch / wanted / path.name
    if folder.is_dir():
        return folder
    partial = folder.with_name("partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for relative, md5 in _folder(root, wanted, f"The {word} of {name}").items():
        (partial / relative).parent.mkdir(parents=True, exist_ok=True)
        link(_whole(root, md5, f"The {word} of {name} ({relative})"), partial / relative)
    partial.rename(folder)
    return folder


def _adapter(root: Path, name: str, ancestor: str) -> Adapter:
    whose = (
        f"The adapter of {ancestor}, which {name} is rebuilt from,"
        if ancestor != name
        else f"The adapter of {name}"
    )
    files_in = _folder(root, sealed_outs(root, ancestor)[artifacts.ADAPTER.as_posix()].md5, whose)
    paths = {relative: _whole(root, md5, whose) for relative, md5 in files_in.items()}
    return adapter.read(paths[adapter.CONFIG], paths.get(adapter.WEIGHTS))


def _folder(root: Path, md5: str, whose: str) -> dict[str, str]:
    _whole(root, md5, whose)
    return objects.listing(root, md5)


def _whole(root: Path, md5: str, whose: str) -> Path:
    try:
        return objects.whole(root, md5)[0]
    except ColdStorageError as error:
        raise ColdStorageError(
            f"{whose} is missing everywhere, so nothing was rebuilt. {error}"
        ) from None


def link(source: Path, target: Path) -> None:
    """Show a file under another name, never to be written to."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
