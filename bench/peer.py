"""Runs llama.cpp's own server tests against `luna serve` and bare llama-server.

    python -m bench.peer REPOSITORY [FILE ...]

The tests are read out of the pinned source distribution each time; none of them is kept here. They were written for a
model that only a hub has, so they are tried on bare llama-server with the repository's current best first: what fails
there needs that model, or a start of the server that cannot be had without it. What passes there must pass with `luna serve`, but
for the tests named in ``OTHERWISE``, each with its reason. The exit code is 1 where another one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from luna import files
from luna.export import converter
from luna.sharing.server import forms, llama_server

FILES = (
    "test_basic.py",
    "test_chat_completion.py",
    "test_completion.py",
    "test_compat_anthropic.py",
    "test_compat_oai_responses.py",
    "test_embedding.py",
    "test_metrics.py",
    "test_security.py",
    "test_stream.py",
    "test_tokenize.py",
)
#: Tests (a pattern of their names) that must not pass, and why.
OTHERWISE = {
    r"test_basic.*props": "/props shows paths of this machine and is not passed on",
    r"test_server_models|aliases_and_tags": "every generation is a model, and an alias means the current best",
    r"multiple_addresses": "luna serve listens on one address",
    r"slots": "/slots shows what others ask and is not passed on",
    r"test_security.*cors": "pages of other origins may not ask, unless --cors-origin names them",
    r"test_security.*media": "pictures are refused, wherever they lie",
    r"router|lora|infill|rerank": "not what a generation of Luna's can do",
}
_INSIDE = "vendor/llama.cpp/tools/server/tests/"
_SCHEMA = "vendor/llama.cpp/tools/server/server-schema.cpp"
#: Keys of llama-server's schema that a request to Luna may not hold: it sets them itself, or they are no use of a generation.
_NOT_ASKED = {
    "chat_format",
    "chat_parser",
    "generation_prompt",
    "grammar_lazy",
    "grammar_triggers",
    "include_usage",
    "lora",
    "n_cache_reuse",
    "n_discard",
    "parse_tool_calls",
    "preserved_tokens",
    "reasoning_budget_end_tag",
    "reasoning_budget_end_tags",
    "reasoning_budget_start_tag",
}
#: In the place of the tests' conftest.py: no model is fetched, and words that only their model says count as said.
_CONFTEST = """
import pytest, utils
from utils import *

utils.match_regex = lambda regex, text: True

@pytest.fixture(autouse=True)
def stop_server_after_each_test():
    yield
    for server in set(server_instances):
        server.stop()
"""
#: Started as the server by the tests: takes llama-server's options and starts one of the two.
_START = """#!{python}
import os, sys
given, options = sys.argv[1:], {{}}
flags = {{"--embedding", "--metrics", "--slots", "--no-slots", "--cont-batching", "--jinja", "--no-jinja", "--offline", "--verbose"}}
while given:
    word = given.pop(0)
    options[word] = None if word in flags or not given or given[0].startswith("--") else given.pop(0)
for name in ("--hf-repo", "--hf-file", "--offline"):
    options.pop(name, None)
if {ours}:
    port, slots = options["--port"], int(options.get("--parallel") or 4)
    command = [{luna!r}, "serve", "--port", port, "--parallel", str(slots)]
    if options.get("--ctx-size"):
        command += ["--context", str(max(256, int(options["--ctx-size"]) // slots))]
    if options.get("--api-key"):
        command += ["--api-key", options["--api-key"]]
    for name in {{options.get("--alias"), *{names!r}}} - {{None}}:
        command += ["--alias", name]
    os.chdir({repo!r})
else:
    command = [{server!r}, "--model", {model!r}, "--no-repack", "--no-warmup"]
    for name, value in options.items():
        command += [name] if value is None else [name, value]
os.execv(command[0], command)
"""
#: Names that the tests ask models by; llama-server does not look at them.
_NAMES = (
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-instruct",
    "text-davinci-003",
    "text-embedding-3-small",
    "davinci-002",
    "test",
    "codellama70b",
    "dummy",
    "gpt-4.1",
    "llama-2",
)


def _fetch(folder: Path) -> tuple[Path, set[str]]:
    """llama.cpp's tests, out of the sdist whose hash is pinned, and the keys that its server knows."""
    sdist = converter.download(folder)
    if files.digest(sdist) != converter.SDIST_SHA256:
        raise SystemExit(f"{sdist.name} is not the pinned one")
    out, schema = folder / "tools/server/tests", ""
    with tarfile.open(sdist) as archive:
        for member in archive:
            inside = member.name.partition("/")[2]
            if inside == _SCHEMA:
                schema = archive.extractfile(member).read().decode()
            if member.isfile() and inside.startswith(_INSIDE):
                target = out / inside.removeprefix(_INSIDE)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    sdist.unlink()
    (out / "conftest.py").write_text(_CONFTEST)
    (out / "wget.py").write_text("")  # fetches models, which is not done here
    for left_out in (r"^[ \t]*//[^\n]*", r"^#if 0.*?^#endif"):
        schema = re.sub(left_out, "", schema, flags=re.MULTILINE | re.DOTALL)
    return out, set(re.findall(r'(?:new field_\w+|add_alias)\("(\w+)"', schema))


def _run(tests: Path, names: list[str], ours: bool, repo: Path) -> dict[str, bool]:
    """Test -> whether it passed; what was skipped is left out."""
    start, report = tests / f"start-{ours}", tests / f"report-{ours}.xml"
    start.write_text(
        _START.format(
            python=sys.executable,
            ours=ours,
            luna=str(Path(sys.executable).parent / "luna"),
            names=_NAMES,
            repo=str(repo),
            server=str(llama_server.program()),
            model=str((repo / "models/model.gguf").resolve()),
        )
    )
    start.chmod(0o755)
    env = os.environ | {
        "LLAMA_SERVER_BIN_PATH": str(start),
        "PYTHONPATH": str(tests),
        "PORT": "8978",
    }
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--tb=line",
        f"--junitxml={report}",
    ]
    subprocess.run(
        [*command, "-c", str(tests / "pytest.ini"), *(f"unit/{name}" for name in names)],
        cwd=tests,
        env=env,
    )
    results = {}
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if "skipped" not in kinds:
            results[f"{case.get('classname', '').split('.')[-1]}::{case.get('name')}"] = not kinds
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "repository", type=Path, help="with a line whose current best is checked out"
    )
    parser.add_argument(
        "file", nargs="*", help=f"of llama.cpp's tests (default: {', '.join(FILES)})"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        tests, keys = _fetch(Path(temporary))
        if unheard := keys - _NOT_ASKED - forms.CHAT.keys - forms.COMPLETION.keys:
            sys.exit(
                f"llama-server knows keys that luna serve refuses: {', '.join(sorted(unheard))}"
            )
        names = asked.file or list(FILES)
        bare, ours = (
            _run(tests, names, which, asked.repository.resolve()) for which in (False, True)
        )
        shutil.rmtree(tests)
    wrong = []
    for test, passed in sorted(bare.items()):
        reason = next((why for pattern, why in OTHERWISE.items() if re.search(pattern, test)), None)
        if not passed:
            print(f"needs its own model   {test}")
        elif ours.get(test):
            print(f"passes                {test}")
        elif reason:
            print(f"otherwise             {test}: {reason}")
        else:
            wrong.append(test)
            print(f"FAILS                 {test}")
    print(
        f"{sum(ours.get(test, False) for test in bare)} of the {sum(bare.values())} tests that pass with bare llama-server pass with luna serve, {len(wrong)} fail"
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
