"""What ``import accelerando`` promises, though it imports torch only when something is asked of it."""

import subprocess
import sys

import accelerando

PARTS = ("engine", "errors", "optim", "rule", "schedules", "testing")

CODE = """
import sys
import accelerando
assert "torch" not in sys.modules
for name in sys.argv[1:]:
    assert getattr(accelerando, name) is not None, name
    assert name in dir(accelerando), name
try:
    accelerando.no_such_name
except AttributeError as error:
    assert "no_such_name" in str(error)
else:
    raise AssertionError("no error")
"""


def test_every_public_name_is_there_after_a_bare_import():
    names = [*accelerando.__all__, *PARTS]
    result = subprocess.run([sys.executable, "-c", CODE, *names], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
