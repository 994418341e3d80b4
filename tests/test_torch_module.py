"""QuantizedModule: the firmware's integers forwards, the published gradients backwards."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

import tvm_tiny
from tests.support import random_operators, torch_oracle
from tests.support.calls import side_by_side
from tests.support.evaluate_tiny import evaluate
from tests.support.shared import kws01_data, reference_data
from tvm_tiny import zoo
from tvm_tiny.errors import InputError, ModelError, PlanError
from tvm_tiny.metadata import describe
from tvm_tiny.pipeline import rewrite
from tvm_tiny.relay_passes.append_updates import scale_of
from tvm_tiny.relay_passes.separate_trainables import State
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dequantize import DEQUANTIZE, DequantizeAttributes
from tvm_tiny.schedules.dialect import Array, attributes_of, operator_of
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes
from tvm_tiny.targets.target import resolve
from tvm_tiny.training.build import compile_for
from tvm_tiny.training.host_twin import HostTwin
from tvm_tiny.training.update_plan import LayerPlan, SparseUpdate

torch = pytest.importorskip("torch")
from tvm_tiny.torch import QuantizedModule, QuantizedSGD  # noqa: E402
from tvm_tiny.torch.optimizer import scaling_of  # noqa: E402

torch.set_num_threads(1)  # small tensors; threads wait for each other where cores are shared
RANDOM_CALLS = 50  # every kind twice
SHAPE = (2, 3, 5, 4)


def variable(shape: tuple[int, ...] = SHAPE, dtype: str = "int8") -> Any:
    return relax.Var("x", relax.TensorType(list(shape), dtype))


def simple_calls() -> dict[str, Any]:
    """Return calls of the operators that random_operators lacks."""
    generator = np.random.default_rng(0)
    table = relax.const(generator.integers(-128, 128, 256, np.int8))
    rows, columns = (
        PadAttributes((0, 1, 0, 0), (0, 2, 0, 0), -7),
        PadAttributes((0, 0, 2, 0), (0, 0, 1, 3), 5),
    )
    return {
        "lookup": LOOKUP(LookupAttributes("any"), variable(), table),
        "concat": CONCAT(ConcatAttributes(3), variable(), variable((2, 3, 5, 3))),
        "pad_rows": PAD(rows, variable()),
        "pad_columns": PAD(columns, variable()),
        "resize": RESIZE(ResizeAttributes((2, 3)), variable()),
        "transpose": TRANSPOSE(TransposeAttributes((0, 2, 1, 3)), variable()),
        "dequantize": DEQUANTIZE(DequantizeAttributes(float(np.float32(0.3)), -4), variable()),
        "quantize": QUANTIZE(
            QuantizeAttributes(float(np.float32(0.01)), 3), variable(SHAPE, "float32")
        ),
    }


def named(call: Any) -> Any:
    """Return the call as one of a layer with a name."""
    attrs = {**call.attrs, "layer": "linear"} if call.attrs else {"layer": "linear"}
    return relax.Call(call.op, call.args, tvm.ir.make_node("ir.DictAttrs", **attrs))


def inputs_of(specs: list[Any], seed: int) -> list[Array]:
    generator = np.random.default_rng(seed)
    return [
        generator.integers(-128, 128, spec.shape, np.int8)
        if spec.dtype == "int8"
        else generator.normal(0, 0.7, spec.shape).astype(np.float32)
        for spec in specs
    ]


def check_call(call: Any, seed: int) -> None:
    """Value as the meaning's, gradients as the oracle's."""
    module, (specs,) = side_by_side([call])
    inputs = inputs_of(specs, seed)
    quantized = QuantizedModule(module)
    for parameter in quantized.parameters():
        parameter.requires_grad_()
    tensors = [torch.from_numpy(data).double().requires_grad_() for data in inputs]
    (output,) = quantized(*tensors)
    upstream = np.random.default_rng(seed + 1).normal(size=tuple(output.shape))
    output.backward(torch.from_numpy(upstream))
    value, gradients, weights = torch_oracle.operator_gradients(call, inputs, upstream)
    np.testing.assert_array_equal(output.detach().numpy(), value)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        np.testing.assert_allclose(tensor.grad.numpy(), gradient, rtol=1e-9, atol=1e-12)
    for name, parameter in quantized.named_parameters():
        expected = weights[name.rpartition(".")[2]]
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(RANDOM_CALLS))
def test_operators(seed: int) -> None:
    check_call(named(random_operators.operator(seed)), seed)


@pytest.mark.parametrize("name", simple_calls())
def test_simple_operators(name: str) -> None:
    check_call(simple_calls()[name], 1)


@pytest.mark.parametrize(
    "name",
    ["kws", "ad", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ic", "vww"))],
)
def test_models_give_the_bits_of_tflite_micro(name: str) -> None:
    model, inputs, outputs = reference_data(name)
    found = QuantizedModule.from_model(model)(torch.from_numpy(inputs))
    np.testing.assert_array_equal(found.numpy(), outputs.reshape(found.shape))


@pytest.fixture
def kws() -> QuantizedModule:
    return QuantizedModule.from_model(reference_data("kws")[0])


def batch(count: int) -> tuple[Any, Any]:
    features, labels = kws01_data()
    return torch.from_numpy(features[:count]), torch.from_numpy(labels[:count]).long()


def test_gradients_of_a_model(kws: QuantizedModule) -> None:
    data, labels = batch(2)
    kws.parameters_of_plan()
    loss = kws.loss(data, labels)
    loss.backward()
    expected, gradients = torch_oracle.gradients(kws.graph, data.numpy(), labels.numpy())
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert set(gradients) == set(kws.state_dict()) and len(gradients) == 20
    for name, parameter in kws.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), gradients[name], rtol=1e-8, atol=1e-12)


def test_mean_squared_error_of_a_model() -> None:
    model, inputs, _ = reference_data("ad")
    module = QuantizedModule.from_model(model)
    module.parameters_of_plan()
    target = np.random.default_rng(0).normal(size=(4, 640))
    loss = module.loss(torch.from_numpy(inputs), torch.from_numpy(target), "mean_squared_error")
    loss.backward()
    found, gradients = torch_oracle.gradients(module.graph, inputs, target, "mean_squared_error")
    assert loss.item() == pytest.approx(found, rel=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), gradients[name], rtol=1e-8, atol=1e-12)


def test_single_precision_is_close(kws: QuantizedModule) -> None:
    data, labels = batch(2)
    single = QuantizedModule.from_model(reference_data("kws")[0], single=True)
    for module in (kws, single):
        module.parameters_of_plan()
        module.loss(data, labels).backward()
    for wide, narrow in zip(kws.parameters(), single.parameters(), strict=True):
        largest = float(wide.grad.abs().max())
        assert float((wide.grad - narrow.grad).abs().max()) <= 1e-5 * largest


def test_a_module_with_fraction_bits() -> None:
    graph = zoo.int8_module(zoo.mobilenet_v2(resolution=32, width=0.35))
    module = QuantizedModule.from_model(graph)
    assert any(layer.attrs.fraction_bits for layer in module.layers.values())
    data = np.random.default_rng(0).integers(-128, 128, (2, 32, 32, 3), np.int8)
    found = module(torch.from_numpy(data)).numpy()
    for image, output in zip(data, found, strict=True):
        np.testing.assert_array_equal(evaluate(module.graph, image[None])[0], output[None])


def test_training_moves_integers_and_the_graph_follows(kws: QuantizedModule) -> None:
    data, labels = batch(8)
    labels = (labels + 1) % 12  # wrong: large gradients
    before = {name: value.clone() for name, value in kws.state_dict().items()}
    plan = SparseUpdate.bias_only(1)  # and the classifier
    optimizer = QuantizedSGD(kws.parameters_of_plan(plan), 0.05)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = kws.loss(data, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    moved = {n for n, value in kws.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {
        "functional_1_dense_BiasAdd.weight",
        "functional_1_dense_BiasAdd.bias",
        "functional_1_activation_8_Relu.bias",
    }
    assert all(torch.equal(value, value.round()) for value in kws.state_dict().values())
    outputs = kws(data[:1]).detach().numpy()
    np.testing.assert_array_equal(evaluate(kws.to_relax(), data[:1].numpy())[0], outputs)


def test_a_trained_graph_is_a_model_again(kws: QuantizedModule) -> None:
    with torch.no_grad():
        kws.functional_1_dense_BiasAdd.weight.add_(3).clamp_(-127, 127)
    graph = kws.to_relax()
    assert rewrite(graph)["main"].attrs["tiny.input_scales"][0] > 0
    again = QuantizedModule.from_model(graph)
    assert again.logits_quantisation == kws.logits_quantisation
    for name, value in again.state_dict().items():
        assert torch.equal(value, kws.state_dict()[name]), name


@pytest.mark.qemu
def test_a_trained_graph_runs_on_a_core(kws: QuantizedModule) -> None:
    data, labels = batch(2)
    optimizer = QuantizedSGD(kws.parameters_of_plan(), 0.0005)
    kws.loss(data, labels).backward()
    optimizer.step()
    firmware = tvm_tiny.build(kws.to_relax(), "cortex-m4")
    result = firmware.run(data[:1].numpy())
    np.testing.assert_array_equal(result.outputs[0], kws(data[:1]).detach().numpy())


def test_scales_of_weights_are_the_models_own(kws: QuantizedModule) -> None:
    module = tvm_tiny.load(reference_data("kws")[0])
    own = [
        binding.value.args[1].value.numpy().reshape(-1)
        for block in module["main"].body.blocks
        for binding in block.bindings
        if getattr(getattr(binding.value, "op", None), "name", "") == "relax.dequantize"
        and isinstance(binding.value.args[0], tvm.ir.GenericConst)
    ]
    for layer in kws.layers.values():
        scale, bias_scale = layer.weight_scale, layer.bias_scale
        channels = len(layer.bias)
        assert scale is not None and bias_scale is not None
        near = [s for s in own if s.size in (1, channels)]
        for values in (scale.numpy(), bias_scale.numpy()):
            assert any(np.allclose(s, values, rtol=1e-6, atol=0) for s in near)


def parameter_group(values: Any, **fields: Any) -> dict[str, Any]:
    parameter = torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))
    usual = {"limit": 127, "scale": None, "channels": (), "name": "w", "axis": 0}
    return {"params": [parameter], **usual, **fields}


def test_updates_round_halves_to_even_and_saturate() -> None:
    group = parameter_group([0.0, 1.0, 2.0, 126.0, -127.0, 5.0, 6.0])
    optimizer = QuantizedSGD([group], 1.0, qas=False)
    (parameter,) = group["params"]
    parameter.grad = torch.tensor([0.5, 0.5, -0.5, -9.0, 4.0, float("nan"), float("inf")]).double()
    optimizer.step()
    assert parameter.tolist() == [0.0, 0.0, 2.0, 127.0, -127.0, 5.0, 6.0]


@pytest.mark.parametrize("axis", [0, 1])
def test_updates_are_scaled_by_channel(axis: int) -> None:
    scale = torch.tensor([0.5, 0.25]).double()  # to the power of -2: 4 and 16
    group = parameter_group([[0.0, 0.0], [0.0, 0.0]], scale=scale, axis=axis)
    optimizer = QuantizedSGD([group], 0.5)
    (parameter,) = group["params"]
    parameter.grad = torch.ones(2, 2).double()
    optimizer.step()
    expected = np.broadcast_to([-2.0, -8.0], (2, 2))
    np.testing.assert_array_equal(parameter.detach(), expected.T if axis == 0 else expected)


def test_large_biases_keep_their_last_bits() -> None:
    group = parameter_group([2.0**30 + 1, 2.0**31 - 3], limit=(1 << 31) - 1)
    optimizer = QuantizedSGD([group], 1.0, qas=False)
    (parameter,) = group["params"]
    parameter.grad = torch.tensor([-1.0, -100.0]).double()
    optimizer.step()
    assert parameter.tolist() == [2.0**30 + 2, 2.0**31 - 1]


def test_only_chosen_channels_move(kws: QuantizedModule) -> None:
    name = "functional_1_activation_8_Relu"
    data, labels = batch(4)
    labels = (labels + 1) % 12
    weight = kws.layers[name].weight
    before = weight.detach().clone()
    plan = SparseUpdate((LayerPlan(name, weights=2 / 64),))
    optimizer = QuantizedSGD(kws.parameters_of_plan(plan), 0.1)
    kws.loss(data, labels).backward()
    optimizer.step()
    moved = (weight != before).any(dim=0).flatten().nonzero().flatten().tolist()
    largest = before.square().sum(dim=(0, 1, 2)).topk(2).indices.tolist()
    assert moved == sorted(largest)


def test_scaling_is_the_firmwares(kws: QuantizedModule) -> None:
    groups = {group["name"]: group for group in kws.parameters_of_plan()}
    QuantizedSGD([*groups.values()], 1.0)
    calls = [b.value for block in kws.graph["main"].body.blocks for b in block.bindings]
    layers = [c for c in calls if operator_of(c) and attributes_of(c).layer in kws.layers]
    for call in layers:
        layer = attributes_of(call).layer
        for kind in ("weight", "bias"):
            state = State(f"{layer}_{kind}", np.zeros(1), layer, kind)
            scaling = scaling_of(groups[f"{layer}.{kind}"] | {"qas": True})
            np.testing.assert_array_equal(scaling, scale_of(call, state, True))


def test_momentum_adds_up() -> None:
    group = parameter_group([0.0])
    optimizer = QuantizedSGD([group], 1.0, qas=False, momentum=0.5)
    (parameter,) = group["params"]
    for _ in range(2):
        parameter.grad = torch.full_like(parameter, 4.0)
        optimizer.step()
    assert parameter.item() == -4.0 - 6.0


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd_qas", "sgd"])
def test_steps_are_those_of_the_firmware(optimizer: str) -> None:
    """Losses to float32, integers but for a few that lie at a half."""
    model, rate = reference_data("kws")[0], {"sgd_qas": 0.002, "sgd": 50.0}[optimizer]
    compiled = compile_for(model, resolve("cortex-m4"), "last:3", optimizer=optimizer)
    assert compiled.states is not None
    metadata = describe(compiled, resolve("cortex-m4"))
    twin = HostTwin(dict(compiled.code.files), metadata, compiled.states.state_bytes)
    module = QuantizedModule.from_model(model)
    groups = module.parameters_of_plan("last:3")
    sgd = QuantizedSGD(groups, rate, qas=optimizer == "sgd_qas")
    data, labels = batch(8)
    labels = (labels + 1) % 12
    for sample, label in zip(data, labels, strict=True):
        sgd.zero_grad()
        loss = module.loss(sample[None], label[None])
        loss.backward()
        sgd.step()
        found = twin.train_step([sample.numpy()[None]], int(label), rate)
        assert found == pytest.approx(loss.item(), rel=1e-4, abs=1e-5)
    for sample in data:
        expected = module(sample[None]).detach().numpy()
        difference = twin.predict([sample.numpy()[None]])[0].astype(int) - expected
        assert np.abs(difference).max() <= 1


def without_scales(module: QuantizedModule) -> QuantizedModule:
    for layer in module.layers.values():
        object.__setattr__(layer.attrs, "input_scale", 0.0)
    return module


def test_scaling_needs_scales(kws: QuantizedModule) -> None:
    groups = without_scales(kws).parameters_of_plan()
    with pytest.raises(InputError, match="needs the scales of activations"):
        QuantizedSGD(groups, 0.1)
    QuantizedSGD(groups, 0.1, qas=False)


def test_wrong_uses(kws: QuantizedModule) -> None:
    data, labels = batch(1)
    with pytest.raises(PlanError, match="no layers of this name"):
        kws.parameters_of_plan(SparseUpdate((LayerPlan("head", 1.0),)))
    with pytest.raises(InputError, match="no loss hinge"):
        kws.loss(data, labels, "hinge")
    with pytest.raises(InputError, match="wrong shape"):
        kws(data[:, :-1])
    with pytest.raises(InputError, match="wrong number of inputs"):
        kws(data, data)


def test_layers_of_another_shape_are_refused(kws: QuantizedModule) -> None:
    layer = kws.layers["functional_1_dense_BiasAdd"]
    layer.bias = torch.nn.Parameter(torch.zeros(3).double())
    with pytest.raises(InputError, match="another shape"):
        kws.to_relax()


def test_a_layer_needs_a_name() -> None:
    module, _ = side_by_side([random_operators.operator(0)])
    with pytest.raises(ModelError, match="without a name"):
        QuantizedModule(module)


def test_logits_without_a_scale() -> None:
    module, _ = side_by_side([random_operators.operator(4)])
    with pytest.raises(ModelError, match="scale of the logits is not known"):
        _ = QuantizedModule(module).logits_quantisation


def test_names_of_layers(kws: QuantizedModule) -> None:
    graph = kws.graph
    calls = [b.value for block in graph["main"].body.blocks for b in block.bindings]
    names = {attributes_of(call).layer for call in calls if operator_of(call)}
    assert set(kws.layers) <= names and len(kws.layers) == 10


def test_pytorch_is_still_found() -> None:
    assert sys.modules["tvm_tiny.torch"] is not sys.modules["torch"] is torch
