import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.importers.evaluate import contract_holds, only, operators, run, source
from tvm_tiny.errors import MissingExtraError, ModelError, UnsupportedError
from tvm_tiny.importers import load

torch = pytest.importorskip("torch")
nn: Any = torch.nn
SHAPE = (1, 3, 16, 16)


def net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.ReLU6(),
        nn.Conv2d(8, 12, 1),
        nn.Hardswish(),
        nn.MaxPool2d(2),
        nn.Dropout(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    ).eval()


def export(module: Any, shape: tuple[int, ...] = SHAPE) -> Any:
    return torch.export.export(module, (torch.randn(shape),))


@pytest.fixture(scope="module")
def quantised() -> Any:
    tools = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e")
    quantizers = pytest.importorskip("torchao.testing.pt2e._xnnpack_quantizer")
    config = quantizers.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = quantizers.XNNPACKQuantizer().set_global(config)
    prepared = tools.prepare_pt2e(export(net()).module(), quantizer)
    for _ in range(4):
        prepared(torch.randn(SHAPE))
    return export(tools.convert_pt2e(prepared))


@pytest.mark.slow
def test_a_quantised_net(quantised: Any) -> None:
    module = load(quantised)
    contract_holds(module)
    step = 0.02
    for seed in range(2):
        torch.manual_seed(seed)
        image = torch.randn(SHAPE)
        expected = quantised.module()(image).detach().numpy()
        assert np.abs(run(module, image.numpy())[0] - expected).max() <= step


def test_quantised_form(quantised: Any) -> None:
    module = load(quantised)
    weights = source(module, only(module, "matmul"), 1)
    assert weights.op.name == "relax.dequantize"
    assert (weights.args[0].ty.dtype, weights.attrs.axis) == ("int8", 1)
    # biases are float in PT2E
    assert source(module, only(module, "matmul"), 0).op.name == "relax.dequantize"
    assert operators(module).count("nn.conv2d") == 3


def test_a_saved_quantised_program(quantised: Any) -> None:
    file = io.BytesIO()
    torch.export.save(quantised, file)
    assert operators(load(file.getvalue())) == operators(load(quantised))


def test_names_and_attributes(quantised: Any) -> None:
    main = load(quantised)["main"]
    assert str(main.attrs["tiny.source"]) == "torch"
    assert list(main.attrs["tiny.input_names"]) == [main.params[0].name]
    names = [binding.var.name for binding in main.body.blocks[0].bindings]
    assert {"conv2d", "conv2d_1", "linear", "quantize_per_tensor"} <= set(names)


def test_a_float_net() -> None:
    program = export(net())
    module = load(program)
    assert "nn.batch_norm" not in operators(module)
    image = torch.randn(SHAPE)
    expected = program.module()(image).detach().numpy()
    np.testing.assert_allclose(run(module, image.numpy())[0], expected, atol=1e-5)


class Function(nn.Module):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, value: Any) -> Any:
        return self.function(value)


def test_several_outputs_and_an_input_passed_through() -> None:
    module = load(export(Function(lambda value: (value + 1, value, value * 2))))
    image = np.ones(SHAPE, np.float32)
    assert [part.max() for part in run(module, image)] == [2, 1, 2]
    assert len(list(module["main"].attrs["tiny.output_names"])) == 3


def test_every_unknown_operator_is_listed() -> None:
    program = export(Function(lambda value: torch.special.i0(torch.digamma(value))))
    with pytest.raises(UnsupportedError, match=r"aten.i0.*(\n.*)*") as caught:
        load(program)
    assert len(caught.value.problems) == 2


def test_symbolic_shapes_are_refused() -> None:
    dynamic = {"value": {0: torch.export.Dim("batch", min=2, max=8)}}
    program = torch.export.export(
        Function(torch.relu), (torch.randn(4, 3),), dynamic_shapes=dynamic
    )
    with pytest.raises(UnsupportedError, match="symbolic"):
        load(program)


def test_broken_files_are_refused() -> None:
    with pytest.raises(ModelError, match="PyTorch model"):
        load(b"PK\x03\x04 not a zip file")


def test_the_extra_is_named_where_torch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tvm_tiny.importers.from_torch", None)
    monkeypatch.delattr("tvm_tiny.importers.from_torch", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'tvm_tiny\[torch\]'"):
        load(b"PK\x03\x04")
