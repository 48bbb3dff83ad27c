"""Each figure of the chapters on attention names the Parquet tables that it draws."""

import ast
import re
from pathlib import Path

import pytest

BASE = Path(__file__).parents[3]
RULES = {
    "draw_attention": "report",
    "draw_interventions": "interventions",
    "draw_focus": "focus",
    "draw_growth": "growth",
    "draw_observables": "observables",
}
"""Rules that draw, and the files that they stand in."""


def drawn_from(rule):
    """Tables of each figure, as the rule's script has them."""
    tree = ast.parse((BASE / "workflow" / "scripts" / f"{rule}.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "DRAWN_FROM"
    )
    return ast.literal_eval(value)


@pytest.mark.parametrize("rule", RULES)
def test_figures_name_their_tables(rule):
    text = (BASE / "rules" / f"{RULES[rule]}.smk").read_text(encoding="utf-8")
    body = re.search(rf"^rule {rule}:(.*?)(?=^rule |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    given, made = body.split("output:")
    tables = dict(re.findall(r'(\w+)="[^"]*\.(\w+)"', given))
    figures = re.findall(r'"(\w+)"', re.search(r"drawn\((.*?)\)", made, re.DOTALL)[1])
    told = drawn_from(rule)
    assert set(told) == set(figures)
    for own in told.values():
        assert own
        assert {tables[name] for name in own} == {"parquet"}
    assert {name for own in told.values() for name in own} == set(tables)
