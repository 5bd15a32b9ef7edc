"""No module turns data into code, starts a shell on this machine by a flag, or trusts an unknown host key."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for room in ("chaos", "probes") for path in (ROOT / room).rglob("*.py"))
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "code", "codeop", "runpy"}
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    "AutoAddPolicy", "WarningPolicy", "MissingHostKeyPolicy", "create_subprocess_shell", "getoutput", "getstatusoutput",
    "unsafe_load", "full_load", "unsafe_load_all", "full_load_all", "UnsafeLoader", "FullLoader",
}  # fmt: skip
OF_MODULES = {
    "os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.Loader", "np.load", "numpy.load", "np.fromfile",
    "builtins.eval", "builtins.exec",
}  # fmt: skip
TRUE_FLAGS = {"shell", "allow_pickle"}


def found_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=module, names=names):
                whole = [f"{module}.{alias.name}" for alias in names]
                yield from (name for name in whole if (module or "").split(".")[0] in MODULES or name in OF_MODULES)
                yield from (alias.name for alias in names if alias.name in ATTRIBUTES)
            case ast.Name(id=name) if name in NAMES:
                yield name
            case ast.Attribute(attr=name) if name in ATTRIBUTES or ast.unparse(node) in OF_MODULES:
                yield ast.unparse(node)
            case ast.keyword(arg=name, value=value) if name in TRUE_FLAGS and ast.unparse(value) != "False":
                yield f"{name}={ast.unparse(value)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_from_data(path: Path) -> None:
    assert list(found_in(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "import os; os.system('x')", "from os import system", "eval('1')",
        "import yaml; yaml.load(x)", "subprocess.run(x, shell=True)", "subprocess.run(x, shell=flag)",
        "np.load(x)", "paramiko.AutoAddPolicy()", "from paramiko import WarningPolicy", "f(allow_pickle=True)",
    ],
)  # fmt: skip
def test_it_would_be_seen(line: str) -> None:
    assert list(found_in(line))


def test_every_room_is_read() -> None:
    assert len(SOURCES) > 100
