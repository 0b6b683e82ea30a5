import ast

import pytest
from click.testing import CliRunner

from accelerando.cli.group import accelerando


@pytest.mark.parametrize("method", ["LAMB", "adamw"])
def test_the_cuda_source_is_python_and_has_the_rules_own_names(method):
    shown = CliRunner().invoke(accelerando, ["show", method, "--backend", "cuda"])
    assert shown.exit_code == 0, shown.output
    text = shown.output.partition("# AdamW(")[0]
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    kernel = "first" if method == "LAMB" else "step"
    assert {kernel, f"{kernel}_elements"} <= set(functions)
    line = "exp_avg_sq2 = beta2 * exp_avg_sq + rest2 * (g * g)"
    assert line in ast.unparse(functions[f"{kernel}_elements"])
