"""What a recipe refers to is looked up before any work starts, and nothing else is touched."""

from __future__ import annotations

import sys

import pytest

from prunekit.errors import RecipeError
from prunekit.recipe import check_references, import_factory, load_recipe, read_recipe

PRUNE = {"method": "filter", "target": {"channel_ratio": 0.5}}


def check(**sections):
    check_references(load_recipe({"prune": PRUNE, **sections}))


def refusal(**sections):
    with pytest.raises(RecipeError) as caught:
        check(**sections)
    return str(caught.value)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write the user's own module and make it importable."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


def test_a_recipe_that_refers_to_nothing_is_fine():
    recipe = load_recipe({"prune": PRUNE})
    assert (recipe.model, recipe.data) == (None, None)
    check_references(recipe)


def test_what_exists_is_fine_until_it_is_gone(tmp_path, module):
    (tmp_path / "a.PNG").touch()
    (tmp_path / "w.safetensors").touch()
    name = module("mynet", "class Net:\n    class Small:\n        def __init__(self, width): ...\n")
    sections = {
        "model": {
            "factory": f"{name}:Net.Small",
            "arguments": {"width": 3},
            "weights": str(tmp_path / "w.safetensors"),
        },
        "data": {
            "train": {"folder": str(tmp_path), "names": ["a"]},
            "evaluate": {"photographs": "scikit-image", "names": ["astronaut"]},
        },
        "output": str(tmp_path),
    }
    check(**sections)
    (tmp_path / "w.safetensors").unlink()
    assert "does not exist" in refusal(**sections)


def test_a_network_that_is_built_in_is_fine_and_no_other():
    check(model={"network": "imdn_x2"})
    assert "no built-in network 'edsrr'; did you mean 'edsr'?" in refusal(
        model={"network": "edsrr"}
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"res_scale": "a"}, "EDSR needs a number above 0 and up to 65536 for res_scale, not 'a'"),
        ({"chanels": 8}, "it takes no argument 'chanels'; did you mean 'channels'?"),
        ({"name": "edsr"}, "it takes no argument 'name'"),
    ],
    ids=str,
)
def test_arguments_that_a_built_in_network_does_not_take_are_told(arguments, told):
    check(model={"network": "edsr", "arguments": {"channels": 65536}})  # no memory is taken
    message = refusal(model={"network": "edsr", "arguments": arguments})
    assert message.startswith(f"the recipe: network 'edsr' cannot be built: {told}")


def test_a_factory_that_fails_to_import_is_one_sentence(module):
    broken = module("broken_net", "raise ValueError('no\\nluck')\n")
    exits = module("exiting_net", "import sys; sys.exit(3)\n")
    wrong = module("wrong_net", "def (\n")

    assert "cannot be imported: ValueError: no" in refusal(model={"factory": f"{broken}:Net"})
    assert "cannot be imported: SystemExit: 3" in refusal(model={"factory": f"{exits}:Net"})
    assert "cannot be imported: SyntaxError" in refusal(model={"factory": f"{wrong}:Net"})


def test_a_missing_module_is_told_from_a_module_that_misses_another(module):
    name = module("needy_net", "import no_such_dependency\n")

    assert "there is no 'nowhere'; install it" in refusal(model={"factory": "nowhere.deep:Net"})
    assert "there is no 'json.nowhere'" in refusal(model={"factory": "json.nowhere:Net"})
    assert "needs 'no_such_dependency'" in refusal(model={"factory": f"{name}:Net"})


def test_arguments_must_fit_the_factory(module):
    name = module("picky_net", "def net(width, *, depth=1): ...\ndef free(**rest): ...\n")
    factory = f"{name}:net"

    assert "there is no 'widht'; did you mean 'width'?" in refusal(
        model={"factory": factory, "arguments": {"widht": 1}}
    )
    assert "missing a required argument: 'width'" in refusal(model={"factory": factory})
    check(model={"factory": factory, "arguments": {"width": 1, "depth": 2}})
    check(model={"factory": f"{name}:free", "arguments": {"anything": 1}})


def test_a_factory_is_not_called_by_the_check(module):
    name = module("counting_net", "calls = []\ndef net():\n    calls.append(1)\n")
    check(model={"factory": f"{name}:net"})

    assert sys.modules[name].calls == []
    import_factory(f"{name}:net")()
    assert sys.modules[name].calls == [1]


def test_weights_are_an_existing_file_of_a_known_kind(tmp_path):
    (tmp_path / "w.bin").touch()
    (tmp_path / "w.pth").mkdir()

    def of(name):
        return refusal(model={"network": "edsr", "weights": str(tmp_path / name)})

    assert "does not exist" in of("w.pt")
    assert "is not a file" in of("w.pth")
    assert "there is .safetensors, .pth, .pt" in of("w.bin")


@pytest.mark.parametrize("key", ["train", "evaluate"])
def test_a_folder_holds_the_images_that_are_named(key, tmp_path):
    (tmp_path / "baby.png").touch()
    (tmp_path / ".hidden.png").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()

    def of(**images):
        return refusal(data={key: images})

    assert f"'data.{key}.folder' is" in of(folder=str(tmp_path / "nowhere"))
    assert "is not a folder" in of(folder=str(tmp_path / "baby.png"))
    assert "holds no image" in of(folder=str(tmp_path / "empty"))
    assert "has 'babby'; did you mean 'baby'?" in of(folder=str(tmp_path), names=["babby"])
    assert "has '.hidden'" in of(folder=str(tmp_path), names=[".hidden"])


def test_photographs_need_their_package(monkeypatch):
    monkeypatch.setattr("prunekit.data.photographs.find_spec", lambda _: None)

    assert "pip install 'prunekit[demo]'" in refusal(
        data={"train": {"photographs": "scikit-image"}}
    )


def test_the_output_is_a_folder_or_nothing(tmp_path):
    (tmp_path / "file").touch()

    assert "is not a folder" in refusal(output=str(tmp_path / "file"))
    check(output=str(tmp_path / "new" / "folder"))
    assert not (tmp_path / "new").exists()


def test_a_path_that_the_system_refuses_is_one_sentence(tmp_path):
    assert "cannot be used" in refusal(output=str(tmp_path / ("x" * 5000)))


def test_the_line_is_named_where_it_is_known(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(
        "prune: {method: filter, target: {macs_ratio: 0.5}}\nmodel:\n  network: edsrr\n",
        encoding="utf-8",
    )
    draft = read_recipe(file)

    with pytest.raises(RecipeError, match=r"r\.yaml, line 3: there is no built-in network"):
        check_references(draft.recipe, where=draft.place)
