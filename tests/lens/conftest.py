import importlib
import sys

import pytest
import torch

KEPT = []


@pytest.fixture(scope="session")
def torchvision_loads():
    """A torchvision built for another torch fails where it looks up its own operators: declare these."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)  # its operators live as long as it does
        importlib.import_module("torchvision")
