"""The page that draws a network, the tree and the JSON: whole, self-contained, safe."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
import torch
from rich.console import Console
from torch import nn

from prunekit.graph import trace
from prunekit.nets import create
from prunekit.report.network import (
    document,
    to_network_json,
    to_network_page,
    to_network_tree,
)
from prunekit.report.network.document import FORMAT
from tests import nets
from tests.nets import NETS, Chain
from tests.report.samples import HOSTILE
from tests.wirings.moves import Accumulated

each_net = pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)


def traced(kind):
    return nets.traced(kind)[2]


def data_of(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def text_of(tree, width=200):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(tree)
    return console.export_text()


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


# The page --------------------------------------------------------------------------------------


@each_net
def test_the_page_holds_every_group_operator_and_tensor(kind):
    graph = traced(kind)
    data = data_of(to_network_page("net", graph))
    assert [row[0] for row in data["groups"]] == [group.name for group in graph.groups]
    assert [row[2] for row in data["groups"]] == [group.width for group in graph.groups]
    assert len(data["steps"]) == graph.operators
    assert [row[0] for row in data["tensors"]] == list(graph.shapes)
    assert sorted(g for _, members in data["families"] for g in members) == list(
        range(len(graph.groups))
    )
    frozen = sum(len(row[2]) for row in data["tensors"])
    assert frozen == len(graph.frozen)


@each_net
def test_every_number_in_the_page_names_something(kind):
    data = data_of(to_network_page("net", traced(kind)))
    groups, reasons = range(len(data["groups"])), range(len(data["reasons"]))
    for operator, module, sources, state, _, _, axes, _ in data["steps"]:
        assert operator in range(len(data["operators"]))
        assert module in range(len(data["modules"]))
        assert all(source in range(len(data["steps"])) for source in sources)
        assert all(tensor in range(len(data["tensors"])) for tensor in state)
        assert all(band[0] in groups for axis in axes for band in axis[1])
        assert all(reason in reasons for axis in axes for reason in axis[3])
    assert all(one[2] in reasons for tensor in data["tensors"] for one in tensor[2])
    assert all(m in range(len(data["modules"])) for reason in data["reasons"] for m in reason[5])


def test_the_page_needs_nothing_but_itself():
    page = to_network_page("net", traced(Chain))
    assert not re.search(r"\w://|url\(|@import|fetch|XMLHttpRequest", page)
    for tag, attributes in Tags(page).found:
        assert tag not in {"img", "iframe", "object", "base"}
        assert "src" not in attributes
        assert attributes.get("href", "data:,") == "data:,"
    assert "default-src 'none'" in page


def test_the_page_is_the_same_every_time():
    assert to_network_page("net", traced(Chain)) == to_network_page("net", traced(Chain))


class Named(nn.Module):
    """A module whose name attacks; torch forbids dots in it, and Python lone surrogates."""

    def __init__(self):
        super().__init__()
        self.add_module(HOSTILE.replace(".", "").replace("\udc80", ""), nn.Conv2d(3, 8, 1))
        self.tail = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        return self.tail(next(self.children())(x))


def test_names_cannot_break_out_of_the_page():
    page = to_network_page(HOSTILE, trace(Named(), torch.rand(1, 3, 4, 4)))
    page.encode()
    assert len([tag for tag, _ in Tags(page).found if tag == "script"]) == 2
    shown = json.dumps(data_of(page), ensure_ascii=False)
    for sign in "\x1b\u202e":
        assert sign not in page
        assert sign not in shown
    title = html.unescape(re.search("<title>(.*?)</title>", page, re.DOTALL)[1])
    assert title.startswith("<script>alert(1)</script>")


def test_a_network_of_three_thousand_operators_is_a_small_page():
    graph = trace(create("edsr", channels=8, blocks=600), torch.rand(1, 3, 8, 8))
    assert graph.operators > 3000
    page = to_network_page("edsr", graph)
    assert len(page.encode()) < 1_500_000
    body = next(box for box in data_of(page)["tree"] if box[0] == "body")
    assert [child[0] for child in body[2][:2]] == ["0", "1 to 599"]


@pytest.mark.slow
def test_a_browser_draws_the_page(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium to open the page in")
    page = to_network_page("edsr", trace(create("edsr"), torch.rand(1, 3, 48, 48)))
    probe = """<script>
addEventListener("error", (event) => { document.documentElement.dataset.error = event.message; });
document.querySelector("#legend button").click();
const press = (key) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true }));
const names = [];
document.querySelector(".row[tabindex='0']").focus();
for (const key of ["Down", "Down", "Left", "Down", "Up", "Right", "Right"]) {
  press(`Arrow${key}`);
  names.push(document.activeElement.querySelector("b")?.textContent ?? "-");
}
document.documentElement.dataset.walk = names.join(" ");
document.getElementById("open-all").click();
document.getElementById("find").value = "body.3";
document.getElementById("find").dispatchEvent(new Event("input"));
document.documentElement.dataset.rows = document.querySelectorAll(".row").length;
document.documentElement.dataset.lanes = document.querySelectorAll(".lane").length;
document.documentElement.dataset.found = document.querySelectorAll("#found button").length;
document.documentElement.dataset.chosen = document.querySelector("#detail h3").textContent.trim();
</script></body>"""
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", probe), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    done = subprocess.run(  # noqa: S603
        [chromium, *flags.split(), f"--user-data-dir={tmp_path}", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    root = next(attributes for tag, attributes in Tags(done.stdout).found if tag == "html")
    assert "data-error" not in root
    assert int(root["data-rows"]) > 88  # operators, and boxes
    assert int(root["data-lanes"]) == 18  # one a group
    assert root["data-walk"] == "head.0 body body - body body 0"
    assert int(root["data-found"]) > 3
    assert root["data-chosen"].startswith("trunk")


# The JSON --------------------------------------------------------------------------------------


@each_net
def test_the_json_holds_all_of_it(kind):
    graph = traced(kind)
    written = json.loads(to_network_json("net", graph))
    assert written["format"] == FORMAT
    assert written["params"] == graph.params()
    assert [group["name"] for group in written["groups"]] == list(graph.widths)
    assert sum(step["macs"] for step in written["steps"]) == written["macs"]
    assert len(written["frozen"]) == len(graph.frozen)
    assert sum(cost["axes"] for cost in written["frozen_costs"]) == len(graph.frozen)
    for group in written["groups"]:
        assert 0 <= group["macs_share"] <= 1
        assert len(group["members"]) == group["axes"]


def test_the_keys_of_the_json_are_those_that_are_documented():
    written = json.loads(to_network_json("net", traced(Accumulated)))
    for key, value in written.items():
        assert f"`{key}`" in document.__doc__
        for inner in value[0] if isinstance(value, list) and value else ():
            if isinstance(inner, str):
                assert f"`{inner}`" in document.__doc__, (key, inner)


def test_an_item_of_a_list_is_a_line():
    graph = traced(Chain)
    lines = to_network_json("net", graph).splitlines()
    assert sum('{"operator": "aten.' in line for line in lines) == graph.operators


# The tree --------------------------------------------------------------------------------------


def test_repeated_blocks_are_one_line_and_all_unfolds_them():
    graph = trace(create("edsr", channels=16, blocks=4), torch.rand(1, 3, 8, 8))
    folded = text_of(to_network_tree("edsr", graph))
    unfolded = text_of(to_network_tree("edsr", graph, everything=True))

    assert "body.0..3 hidden: 4 groups, each channel, width 16, 3 axes" in folded
    assert "body.2 hidden" not in folded
    for number in range(4):
        assert f"body.{number} hidden: channel, width 16, 3 axes" in unfolded
    assert all(frozen.tensor in unfolded for frozen in graph.frozen)


def test_what_must_stay_comes_with_operator_module_and_cost():
    graph = traced(Accumulated)
    lines = text_of(to_network_tree("net", graph)).splitlines()
    line = next(line for line in lines if "says aten.cumsum" in line)
    head = 3 * 8 * 9 + 8
    assert f"{100 * head / graph.params():.1f} %" in line
    assert "the model itself" in line


def test_the_tree_can_do_with_plain_signs():
    text = text_of(to_network_tree("net", traced(Chain), ascii_only=True))
    assert "##########" in text
    assert "\N{FULL BLOCK}" not in text
