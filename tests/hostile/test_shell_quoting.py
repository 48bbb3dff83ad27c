"""Nothing that a user names reaches a shell unquoted: in rules, in the library, in make."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
PYTHON = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "workflow").rglob("*.py"))]

_SHELL = re.compile(
    r"^(?P<indent> *)shell *:(?P<text>.*(?:\n(?:(?P=indent) +.*| *))*)|\bshell\((?P<call>.*)", re.M
)
_PLACE = re.compile(r"(?<!{){([^{}]*)}(?!})")


def unquoted(text):
    """Placeholders of shell commands in rules that a space or `$(...)` in a value would break open."""
    commands = [found["text"] or found["call"] for found in _SHELL.finditer(text)]
    return [place for command in commands for place in _PLACE.findall(command) if not place.endswith(":q")]


def shell_calls(tree):
    """Calls in Python that hand a text to a shell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in (
                "os.system",
                "os.popen",
                "subprocess.getoutput",
                "subprocess.getstatusoutput",
                "shell",
            ):
                yield name
            if any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in node.keywords):
                yield name
            of_process = name.startswith("subprocess.") or name in (
                "run",
                "Popen",
                "check_call",
                "check_output",
            )
            if of_process and node.args and isinstance(node.args[0], ast.JoinedStr | ast.Constant):
                yield name


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_value_in_a_shell_command_of_a_rule_is_quoted(path):
    assert unquoted(path.read_text(encoding="utf-8")) == []


BLOCK = '''rule a:
    shell:
        """

        awk "{{print}}" {input:q} > {output}
        """
    message:
        "{wildcards.x}"
'''


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("rule a:\n    shell:\n        'cp {input} {output:q}'\n", ["input"]),
        ('rule a:\n    shell: "cp {input:q} {params.name}"\n    threads: 1\n', ["params.name"]),
        (BLOCK, ["output"]),
        ("run:\n    shell('rm {wildcards.x}')\n", ["wildcards.x"]),
        (
            "rule a:\n    shell:\n        'cp {input:q} {output:q}'\n    message:\n        '{wildcards.x}'\n",
            [],
        ),
    ],
)
def test_an_unquoted_value_is_found(text, places):
    assert unquoted(text) == places


def test_no_module_and_no_script_starts_a_shell():
    found = {path.name: list(shell_calls(ast.parse(path.read_text(encoding="utf-8")))) for path in PYTHON}
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "text", ["os.system(x)", "subprocess.run(f'rm {x}')", "subprocess.run(x, shell=True)", "shell('rm {x}')"]
)
def test_a_shell_is_found(text):
    assert list(shell_calls(ast.parse(text)))
