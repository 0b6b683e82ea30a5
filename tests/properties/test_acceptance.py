"""Every class we ship goes through the same door as a stranger's: the public battery, all of it."""

import pytest
import torch

from accelerando.testing import CHECKS, Status, check_optimizer

from .shipped import SHIPPED


@pytest.fixture(scope="module")
def reports():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {cls: check_optimizer(cls) for cls in SHIPPED}
    torch.set_num_threads(before)
    return found


@pytest.mark.parametrize("code", sorted(CHECKS))
@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.__name__)
def test_the_battery(reports, cls, code):
    finding = reports[cls][code]
    assert finding.status is not Status.FAILED, finding.sentence


@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.__name__)
def test_nothing_is_warned_of(reports, cls):
    said = [w for finding in reports[cls] for w in finding.warnings]
    assert [w for w in said if not w.startswith("BackendWarning")] == []  # foreach=True is answered, once
