"""The tensors that optimizers are timed on: shapes of real models, without the models."""

from itertools import pairwise

Shapes = list[tuple[int, ...]]


def overhead() -> Shapes:
    """Ten tensors so small that nothing but overhead is timed."""
    return [(64,)] * 10


def mlp() -> Shapes:
    """A multi-layer perceptron of ten tensors."""
    widths = [64, 128, 128, 64, 32, 10]
    return [s for a, b in pairwise(widths) for s in ((b, a), (b,))]


def small() -> Shapes:
    """Four hundred small tensors."""
    return [(256,), (16, 16)] * 200


def resnet50() -> Shapes:
    """ResNet-50: 161 tensors, 25.6 million parameters."""
    found: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    inside = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            first = inside if block == 0 else 4 * width
            for shape in ((width, first, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)):
                found += [shape, (shape[0],), (shape[0],)]
            if block == 0:
                found += [(4 * width, first, 1, 1), (4 * width,), (4 * width,)]
        inside = 4 * width
    return [*found, (1000, 2048), (1000,)]


def gpt2() -> Shapes:
    """GPT-2: 148 tensors, 124 million parameters."""
    layer = [(768,), (768,), (2304, 768), (2304,), (768, 768), (768,), (768,), (768,)]
    layer += [(3072, 768), (3072,), (768, 3072), (768,)]
    return [(50257, 768), (1024, 768), *layer * 12, (768,), (768,)]


def one() -> Shapes:
    """One tensor of 16.8 million parameters."""
    return [(4096, 4096)]


MODELS = {
    "10 tiny tensors": overhead,
    "MLP, 10 tensors": mlp,
    "400 small tensors": small,
    "ResNet-50": resnet50,
    "GPT-2 124M": gpt2,
    "one tensor of 16.8 M": one,
}
