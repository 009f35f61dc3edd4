"""The environment is plain JSON, and tells nothing about who ran it."""

import getpass
import json
import platform
from pathlib import Path

import torch

from prunekit.measure.environment import environment
from prunekit.version import __version__


def test_versions_and_machine_are_told():
    found = environment()
    assert found["prunekit"] == __version__
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["processor"]
    assert len(found["devices"]) == torch.cuda.device_count()


def test_it_is_json_and_names_no_host_user_or_path(monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "unlikely-host-name")
    monkeypatch.setenv("HOSTNAME", "unlikely-host-name")
    text = json.dumps(environment())
    assert "unlikely-host-name" not in text
    assert str(Path.home()) not in text
    assert f'"{getpass.getuser()}"' not in text


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr("prunekit.measure.environment._PACKAGES", ("surely-not-installed",))
    assert environment()["packages"] == {"surely-not-installed": None}
