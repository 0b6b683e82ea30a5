"""Records made once: real trials of a few dozen steps."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

_spec = importlib.util.spec_from_file_location("content_records", Path(__file__).with_name("records.py"))
records = importlib.util.module_from_spec(_spec)
sys.modules["content_records"] = records
_spec.loader.exec_module(records)


@pytest.fixture(scope="session")
def comparison():
    """An experiment on digits and its outcomes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = records.experiment()
    torch.set_num_threads(threads)
    return made
