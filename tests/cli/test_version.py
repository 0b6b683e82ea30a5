from importlib.metadata import version

from click.testing import CliRunner

from accelerando.cli.group import accelerando


def test_version():
    result = CliRunner().invoke(accelerando, ["--version"])
    assert result.exit_code == 0
    assert version("accelerando") in result.output
