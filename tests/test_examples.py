"""What a newcomer runs first: the examples, the code of the README, the recipes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from prunekit.errors import RecipeError
from prunekit.pipeline import check
from prunekit.recipe import load_recipe

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def run_python(*arguments: str, folder: Path) -> str:
    done = subprocess.run(  # noqa: S603
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_anywhere_and_says_something(path, tmp_path):
    assert run_python(str(path), folder=tmp_path).strip()
    assert not list(tmp_path.iterdir())


BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{len(block)} characters")
def test_the_code_of_the_readme_runs_and_prints_what_it_says(block, tmp_path):
    printed = run_python("-c", block, folder=tmp_path)
    promised = re.findall(r"#> (.*)", block)
    assert promised
    assert printed.splitlines() == promised
    assert (tmp_path / "slim" / "slim.safetensors").is_file() == ("result.save" in block)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_the_folder_loads(path):
    recipe = load_recipe(path)
    assert recipe.model is not None
    assert recipe.steps


def test_the_template_wants_to_be_filled_in():
    with pytest.raises(RecipeError, match="YOUR_PACKAGE"):
        check(load_recipe(ROOT / "recipes" / "own_network.yaml"))
