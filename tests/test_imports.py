"""The import table: who may know whom, and which modules are pure. The table is the documentation."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import proxy

ROOT = Path(proxy.__file__).parent

IMPURE = {"asyncio", "aiohttp", "time", "os", "logging", "socket", "ssl", "random"}

MAY_NOT_KNOW = {
    "proxy.budget": {"proxy.forward", "proxy.credential", "proxy.app", "proxy.cli", "proxy.simulator", "proxy.config"},
    "proxy.policy": {"proxy.forward", "proxy.credential", "proxy.app", "proxy.cli", "proxy.simulator", "proxy.config"},
    "proxy.credential": {
        "proxy.forward",
        "proxy.budget",
        "proxy.app",
        "proxy.cli",
        "proxy.simulator",
        "proxy.config",
    },
    "proxy.forward": {"proxy.app", "proxy.cli", "proxy.simulator", "proxy.config", "proxy.secrets"},
    "proxy.config": {"proxy.forward", "proxy.credential", "proxy.app", "proxy.cli", "proxy.simulator"},
    "proxy.simulator": {
        "proxy.forward",
        "proxy.credential",
        "proxy.budget",
        "proxy.app",
        "proxy.config",
        "proxy.cli",
    },
    "proxy.kubernetes": {
        "proxy.forward",
        "proxy.credential",
        "proxy.app",
        "proxy.cli",
        "proxy.simulator",
        "proxy.config",
    },
    "proxy.page": {"proxy.admin", "proxy.app", "proxy.cli", "proxy.config", "proxy.simulator"},
    "proxy.errors": {"proxy."},
    "proxy.app": {"proxy.cli", "proxy.simulator", "proxy.demo"},
    "proxy.compose": {"proxy.app", "proxy.cli", "proxy.simulator", "proxy.demo"},
}
FORWARD_KNOWS_OF_CREDENTIAL = {"proxy.credential.credential", "proxy.credential.source"}
FORWARD_KNOWS_OF_BUDGET = {"proxy.budget.budget", "proxy.budget.calls"}


@cache
def sources() -> dict[str, ast.Module]:
    """Return each module of the package, parsed."""
    modules = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = ast.parse(path.read_text())
    return modules


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@cache
def table() -> dict[str, set[str]]:
    """Return what each module imports."""
    return {name: imported(tree) for name, tree in sources().items()}


@cache
def pure() -> set[str]:
    """Return the modules that call themselves pure in their docstrings: they are held to it."""
    return {name for name, tree in sources().items() if re.search(r"\bPure\b", ast.get_docstring(tree) or "")}


def test_every_branch_of_a_pure_module_is_tested() -> None:
    """The Makefile asks coverage for 100 % of just these."""
    listed = re.search(r"^PURE +:= (.*)$", (ROOT.parent / "Makefile").read_text(), re.MULTILINE)
    assert listed
    files = {name.replace(".", "/") + ".py" for name in pure()}
    assert set(listed[1].split(",")) == files


def test_a_pure_module_imports_no_clock_no_network_no_log() -> None:
    for module in pure():
        assert not {name.split(".")[0] for name in table()[module]} & IMPURE, module


@pytest.mark.parametrize("package", sorted(MAY_NOT_KNOW))
def test_a_package_does_not_know_what_lies_above_or_beside_it(package: str) -> None:
    for module, names in table().items():
        if module == package or module.startswith(package + "."):
            known = {name for name in names for other in MAY_NOT_KNOW[package] if name.startswith(other)}
            assert not known, module


def test_forward_knows_of_credential_one_word() -> None:
    for module, names in table().items():
        if module.startswith("proxy.forward"):
            of_credential = {name for name in names if name.startswith("proxy.credential.") and name in table()}
            assert of_credential <= FORWARD_KNOWS_OF_CREDENTIAL, module


def test_forward_knows_of_budgets_the_seam_and_not_what_is_behind_it() -> None:
    for module, names in table().items():
        if module.startswith("proxy.forward"):
            of_budget = {name for name in names if name.startswith("proxy.budget.") and name in table()}
            assert of_budget <= FORWARD_KNOWS_OF_BUDGET, module


def test_every_module_is_on_its_packages_map() -> None:
    for package in [ROOT, *(path for path in ROOT.iterdir() if (path / "__init__.py").exists())]:
        map_ = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
        named = set(re.findall(r"\w+", map_))
        missing = {path.stem for path in package.glob("*.py")} - named - {"__init__"}
        assert not missing, package.name


def test_tasks_are_born_in_one_place() -> None:
    born = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for word in ("create_task(", "ensure_future(")
        if word in path.read_text()
    }
    own = {
        "forward/http_upstream.py",  # it awaits what it begins, in one function
        "reloads.py",  # it ends what it begins, in one function
        "credential/redis_client.py",  # it keeps what it begins, and ends it when it is closed
    }
    assert {name for name in born if not name.startswith("simulator/")} == {"tasks.py"} | own


def test_what_serves_in_production_loads_no_simulator() -> None:
    """Unless its command is run: the two lazy imports in cli.py."""
    knowing = {module for module, names in table().items() if any(name.startswith("proxy.simulator") for name in names)}
    assert {module for module in knowing if not module.startswith("proxy.simulator")} == {"proxy.cli", "proxy.demo"}


def test_what_serves_loads_neither_aiohttps_applications_nor_what_only_a_mistake_needs() -> None:
    """Each module that is loaded costs each start its time, and each idle proxy its memory."""
    loading = "import sys, proxy.serve; print({'aiohttp.web', 'argparse', 'difflib', 'proxy.login'} & set(sys.modules))"
    ended = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", loading], cwd=ROOT.parent, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "set()\n"


def test_every_law_names_tests_that_exist() -> None:
    """And the other way round: a law that the code cites is written down."""
    laws = (ROOT.parent / "docs" / "laws.md").read_text()
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", laws, re.MULTILINE)]
    assert numbers == list(range(1, 20))
    assert_tests_exist(laws)


def test_what_is_typed_says_so_to_type_checkers() -> None:
    """PEP 561: without the file, they take the package for one without types, whatever the classifier says."""
    assert "Typing :: Typed" in (ROOT.parent / "pyproject.toml").read_text()
    assert (ROOT / "py.typed").read_bytes() == b""


def test_every_attack_names_tests_that_exist() -> None:
    page = (ROOT.parent / "docs" / "security.md").read_text()
    assert [int(number) for number in re.findall(r"^\| A(\d+) \|", page, re.MULTILINE)] == list(range(1, 22))
    assert_tests_exist(page)


def assert_tests_exist(page: str) -> None:
    for name in re.findall(r"\b(?:[a-z]+/)?test_[a-z_]+\b", page):
        assert (ROOT.parent / "tests" / f"{name}.py").exists(), name
