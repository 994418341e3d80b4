"""Float models in the dialect give what torch gives, with what follows a layer folded into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from tests.support.evaluate_tiny import evaluate, operators
from tests.support.quick import quick_some
from tvm_tiny import importers
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.pipeline import rewrite_for_training
from tvm_tiny.relay_passes.float_to_tiny import FloatToTiny, is_float

torch = pytest.importorskip("torch")
nn: Any = torch.nn
functional: Any = torch.nn.functional
SHAPE = (1, 3, 12, 9)


def exported(forward: Any, *layers: Any) -> Any:
    """Return a net of these layers, with batch normalisation that changes something."""

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x: Any) -> Any:
            return forward(self.layers, x)

    torch.manual_seed(0)
    net = Net().eval()
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return net, torch.export.export(net, (torch.zeros(SHAPE),))


def rewritten(program: Any) -> Any:
    return rewrite_for_training(importers.load(program))


NETS: dict[str, tuple[Any, list[Any]]] = {
    "normalised": (
        lambda layers, x: torch.relu(layers[1](layers[0](x))),
        [nn.Conv2d(3, 5, 3, 2, 1, bias=False), nn.BatchNorm2d(5)],
    ),
    "normalised with a bias": (
        lambda layers, x: functional.relu6(layers[1](layers[0](x))),
        [nn.Conv2d(3, 6, (3, 2), dilation=2, groups=3), nn.BatchNorm2d(6)],
    ),
    "residual": (lambda layers, x: torch.relu(x + layers[0](x)), [nn.Conv2d(3, 3, 1)]),
    "read twice": (
        lambda layers, x: (lambda y: y + torch.relu(2 * y))(layers[0](x)),
        [nn.Conv2d(3, 4, 1)],
    ),
    "dense": (
        lambda layers, x: torch.softmax(layers[0](x.flatten(1)), 1),
        [nn.Linear(3 * 12 * 9, 5)],
    ),
    "global average": (lambda layers, x: layers[0](x.mean(dim=(2, 3))), [nn.Linear(3, 5)]),
    "adaptive average": (lambda layers, x: functional.adaptive_avg_pool2d(x, 1), []),
    "largest": (lambda layers, x: functional.max_pool2d(x, 3, 2, 1), []),
    "average": (lambda layers, x: functional.avg_pool2d(x, (2, 3), 2), []),
    "average inside": (
        lambda layers, x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        [],
    ),
    "product": (lambda layers, x: x * layers[0](x), [nn.Conv2d(3, 3, 1)]),
    "square": (lambda layers, x: (lambda y: y * y)(layers[0](x)), [nn.Conv2d(3, 4, 3)]),
    "gate": (
        lambda layers, x: layers[0](x.mean(dim=(2, 3), keepdim=True)) * x,
        [nn.Conv2d(3, 3, 1)],
    ),
    "number as a gate": (lambda layers, x: x * layers[0](x), [nn.Conv2d(3, 1, (12, 9))]),
    "gate of rows": (
        lambda layers, x: (lambda y: layers[1](y) * y)(layers[0](x.flatten(2))),
        [nn.Flatten(), nn.Linear(324, 324)],
    ),
    "hard swish": (lambda layers, x: functional.hardswish(layers[0](x)), [nn.Conv2d(3, 4, 3)]),
    "sum over the image": (
        lambda layers, x: layers[0](x.mean(dim=(2, 3), keepdim=True)) + x,
        [nn.Conv2d(3, 3, 1)],
    ),
    "less a number": (lambda layers, x: (x - 3) * x - torch.tensor([[[1.0]], [[2]], [[3]]]), []),
    "by a number": (lambda layers, x: layers[0](x / 3) * torch.relu(0.5 * x), [nn.Conv2d(3, 3, 1)]),
    "by channel": (
        lambda layers, x: x * torch.tensor([0.5, 2.0, -1.0]).reshape(3, 1, 1),
        [],
    ),
    "by column": (lambda layers, x: x * torch.tensor([0.5, -2.0, 4.0] * 3), []),
    "concatenated": (
        lambda layers, x: torch.cat([layers[0](x), x, torch.relu(layers[1](x))], 1),
        [nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1)],
    ),
    "concatenated rows": (lambda layers, x: torch.cat([x, torch.relu(x)], 2), []),
    "concatenated logits": (
        lambda layers, x: (lambda y: torch.cat([layers[0](y), layers[1](y)], -1))(x.flatten(1)),
        [nn.Linear(324, 3), nn.Linear(324, 2)],
    ),
    "padded": (
        lambda layers, x: layers[0](functional.pad(x, (1, 2, 0, 1))),
        [nn.Conv2d(3, 4, 3)],
    ),
    "padded by a value": (lambda layers, x: functional.pad(x, (0, 0, 0, 0, 1, 2), value=-0.3), []),
    "upsampled": (
        lambda layers, x: functional.interpolate(layers[0](x), scale_factor=(2, 3)),
        [nn.Conv2d(3, 4, 3)],
    ),
}


@quick_some("name", NETS, 6)
def test_module_gives_what_torch_gives(name: str) -> None:
    net, program = exported(*NETS[name][:1], *NETS[name][1])
    data = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    found = evaluate(rewritten(program), data)
    expected = net(torch.tensor(data)).detach().numpy()
    np.testing.assert_allclose(np.reshape(found[0], expected.shape), expected, 1e-4, 1e-5)


def test_normalisation_goes_into_the_layer() -> None:
    _, program = exported(NETS["normalised"][0], *NETS["normalised"][1])
    names = operators(rewritten(program))
    assert sorted(names) == ["float_clip", "float_conv2d", "transpose", "transpose"]


def test_a_layer_that_is_read_twice_stays_one() -> None:
    for name in ("read twice", "square", "hard swish"):
        _, program = exported(*NETS[name][:1], *NETS[name][1])
        assert operators(rewritten(program)).count("float_conv2d") == 1


def test_layouts_change_at_the_ends_alone() -> None:
    _, program = exported(
        lambda layers, x: layers[1](torch.relu(layers[0](x))).flatten(1),
        nn.Conv2d(3, 5, 3),
        nn.Conv2d(5, 4, 3),
    )
    assert operators(rewritten(program)).count("transpose") == 2


def test_operators_between_layers_take_their_layout() -> None:
    def forward(layers: Any, x: Any) -> Any:
        x = layers[0](x)
        x = functional.pad(torch.cat([x * torch.relu(x), 0.5 * torch.relu(x), x], 1), (1, 1, 1, 1))
        x = functional.interpolate(layers[1](x), scale_factor=2)
        return x * torch.relu(layers[2](x.mean((2, 3), keepdim=True)))

    layers = [nn.Conv2d(3, 5, 3), nn.Conv2d(15, 4, 3), nn.Conv2d(4, 4, 1)]
    _, program = exported(forward, *layers)
    assert operators(rewritten(program)).count("transpose") == 2


@quick_some(
    "forward, operator",
    [
        (lambda layers, x: torch.sin(x), "sin"),
        (lambda layers, x: x * functional.avg_pool2d(x, (12, 1)), "multiply"),
        (lambda layers, x: 2 / x, "divide"),
        (lambda layers, x: x / torch.relu(x), "divide"),
        (lambda layers, x: x + functional.avg_pool2d(x, (12, 1)), "add"),
        (lambda layers, x: 2 - x, "subtract"),
        (lambda layers, x: x - torch.relu(x), "subtract"),
        (lambda layers, x: torch.split(x, 2, 1)[0], "split"),
        (lambda layers, x: torch.cat([x.flatten(), torch.tensor([1.0])]), "concat"),
        (lambda layers, x: functional.pad(x, (1, 1, 1, 1), mode="reflect"), "pad"),
        (lambda layers, x: functional.pad(x, (1, 1), value=-torch.inf), "pad"),
        (lambda layers, x: functional.pad(x, (-1, 1)), "pad"),
        (lambda layers, x: functional.interpolate(x, scale_factor=2, mode="bilinear"), "resize2d"),
        (lambda layers, x: functional.interpolate(x, size=(13, 9)), "resize2d"),
        (lambda layers, x: functional.avg_pool2d(x, 3, 2, 1), "avg_pool2d"),
        (lambda layers, x: x.mean(dim=1), "mean"),
    ],
    every=5,
)
def test_operators_without_a_float_form_are_refused(forward: Any, operator: str) -> None:
    _, program = exported(forward)
    with pytest.raises(UnsupportedError) as caught:
        FloatToTiny()(importers.load(program))
    assert operator in str(caught.value)


def test_quantised_models_are_not_float() -> None:
    _, program = exported(NETS["residual"][0], *NETS["residual"][1])
    module = importers.load(program)
    assert is_float(module)
    assert not is_float(FloatToTiny()(module))
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 4), "float32"))
    with builder.function("main", [x]):
        scale, point = relax.const(0.5, "float32"), relax.const(0, "int8")
        with builder.dataflow():
            output = builder.emit_output(relax.op.quantize(x, scale, point, axis=0))
        builder.emit_func_output(output)
    assert not is_float(builder.finalize())
