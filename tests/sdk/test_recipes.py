"""The recipes of docs/recipes.md, as they stand there: curl's and Python's are run, the others said not to be."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest
from conftest import HouseMaker
from rig import House

PAGE: Final = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
LOCALHOST: Final = "http://127.0.0.1:8080"
SOCKET: Final = "/run/pandadoc-proxy.sock"
KEY: Final = "recipe-0123456789abcdef"
CLIENTS: Final = {"clients": {"app": {"key": {"value": KEY}}}}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


async def run(program: list[str], folder: Path) -> str:
    """Run a recipe, which must succeed; return what it said. No other variable can lend it a credential."""
    child = await asyncio.create_subprocess_exec(
        *program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "APP_KEY": KEY},
    )
    out, err = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode == 0, (out, err)
    return out.decode()


def at(house: House, recipe: str) -> str:
    assert LOCALHOST in recipe
    return recipe.replace(LOCALHOST, house.url)


CURL: Final = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("curl ")]
PYTHON: Final = blocks("python")

needs_curl: Final = pytest.mark.skipif(shutil.which("curl") is None, reason="make test asks for nothing but Python")


def listener(recipe: str, **more: object) -> dict[str, object]:
    """Set the one listener up as a recipe wants it: with clients where it has a key."""
    return {"listeners": [{"bind": "127.0.0.1:0", **(CLIENTS if "APP_KEY" in recipe else {}), **more}]}


@pytest.mark.parametrize("recipe", PYTHON, ids=["alone", "with a key"])
async def test_the_python_recipe_learns_who_it_is(recipe: str, api_key_house: HouseMaker, tmp_path: Path) -> None:
    house = await api_key_house(listener(recipe))
    assert "@" in await run([sys.executable, "-c", at(house, recipe)], tmp_path)
    assert [call.authorization for call in house.simulator.api_calls()] == [(f"API-Key {house.environ['KEY']}",)]


@needs_curl
@pytest.mark.parametrize("recipe", [line for line in CURL if LOCALHOST in line])
async def test_each_curl_recipe_gets_its_answer(recipe: str, api_key_house: HouseMaker, tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.4")
    house = await api_key_house(listener(recipe))
    said = await run(["sh", "-c", at(house, recipe)], tmp_path)
    assert re.search(r'"email"|"document.uploaded"', said)
    assert len(house.simulator.api_calls()) == 1


@needs_curl
async def test_the_curl_recipe_for_a_unix_socket_gets_its_answer(api_key_house: HouseMaker, tmp_path: Path) -> None:
    (recipe,) = (line for line in CURL if SOCKET in line)
    path = str(tmp_path / "s")
    await api_key_house(listener(recipe, bind=f"unix:{path}"))
    assert '"email"' in await run(["sh", "-c", recipe.replace(SOCKET, path)], tmp_path)


def test_no_recipe_is_overlooked() -> None:
    assert (len(CURL), len(PYTHON)) == (5, 2)


@pytest.mark.parametrize("language", ["php", "java"])
def test_a_recipe_that_nothing_runs_says_so(language: str) -> None:
    assert re.search(rf"Not run:\n\n```{language}\n", PAGE)
    assert len(blocks(language)) == 1
