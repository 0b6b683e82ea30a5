"""These tests are run by ``test_triton_interpreter.py``: Triton is to be its interpreter from the start."""

import os

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["*.py"]
