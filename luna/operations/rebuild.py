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
from luna.history.line import Line, Out, read_line, sealed_outs, sealed_params
from luna.model import adapter, weights
from luna.model.adapter import Adapter
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


def inputs(root: Path, line: Line, name: str) -> list[str]:
    """The hashes of all outputs that a rebuild reads: the base, and the adapters of the generation's line."""
    chain = [sealed_outs(root.resolve(), one) for one in line.ancestors(name)]
    return list(
        dict.fromkeys(
            [
                chain[-1][artifacts.BASE.as_posix()].md5,
                *(outs[artifacts.ADAPTER.as_posix()].md5 for outs in chain),
            ]
        )
    )


def rebuild(
    root: Path, line: Line, name: str, scratch: Path, say: Callable[[str], None] = lambda text: None
) -> Rebuilt:
    """Rebuild into ``scratch``, which may hold what an earlier rebuild on this line left there.

    Every byte that is read has its recorded hash, or is fetched again from cold storage. If the
    result is not the recorded file, and that file is available, they are compared tensor by tensor.

    Raises:
        ColdStorageError: no intact copy of the base or of an adapter is left.
        ExportError: the recorded tools cannot be found or built, or an adapter and the base do not belong together.
    """
    started = time.monotonic()
    root = root.resolve()
    ancestors = line.ancestors(name)
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

    base, adapters = parts(root, ancestors, scratch)
    merged = merge(base, adapters, scratch, say)
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


def parts(root: Path, ancestors: list[str], scratch: Path) -> tuple[Path, list[Adapter]]:
    """What the last of ``ancestors`` (as Line.ancestors gives them) is made of: the base's folder, and the adapters on its line, oldest first.

    Raises:
        ColdStorageError: no intact copy of one of them is left.
        ExportError: the line was built on two bases.
    """
    return _base(root, ancestors, scratch), [
        _adapter(root, ancestors[-1], one) for one in ancestors
    ]


def merge(
    base: Path,
    adapters: list[Adapter],
    scratch: Path,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """The 16-bit weights, a model folder in ``scratch`` (or the base itself, where nothing was taught)."""
    taught = sum(adapter.weights is not None for adapter in adapters)
    say(f"merging {taught} adapters into the base" if taught else "the base as it is")
    merged = weights.rebuild(base, adapters, scratch / "weights")
    weights.prune(scratch / "weights")
    return merged


def remaker(
    root: Path, prefix: str, scratch: Path, say: Callable[[str], None]
) -> Callable[[str], Path | None]:
    """For a repair: a function that makes a generation's model.gguf again, once; it returns None, after printing the reason, where that is impossible."""
    made: dict[str, Path | None] = {}

    def remake(name: str) -> Path | None:
        if name not in made:
            try:
                made[name] = rebuild(
                    root,
                    read_line(root, prefix),
                    name,
                    scratch,
                    lambda text: say(f"rebuild: {text}"),
                ).model
            except LunaError as error:
                say(f"luna: {name} cannot be rebuilt: {error}")
                made[name] = None
        return made[name]

    return remake


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


def _base(root: Path, ancestors: list[str], scratch: Path) -> Path:
    """The base's folder with the name that the export stage knows it by; links to checked objects."""
    outs = {name: sealed_outs(root, name)[artifacts.BASE.as_posix()].md5 for name in ancestors}
    wanted = outs[ancestors[-1]]
    if other := next((name for name, md5 in outs.items() if md5 != wanted), None):
        raise ExportError(
            f"{other} was built on another base ({outs[other][:12]}) than {ancestors[-1]} ({wanted[:12]}): what was merged into one cannot be rebuilt from the other."
        )
    target = scratch / wanted / artifacts.BASE.name
    if target.is_dir():
        return target
    partial = target.with_name("partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for relative, md5 in _folder(root, wanted, f"The base of {ancestors[-1]}").items():
        (partial / relative).parent.mkdir(parents=True, exist_ok=True)
        link(_whole(root, md5, f"The base of {ancestors[-1]} ({relative})"), partial / relative)
    partial.rename(target)
    return target


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
