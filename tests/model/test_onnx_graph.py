"""A bundle's graphs read no other file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.model.bundle import load_bundle, shipped_bundles, write_bundle
from liveloc.model.onnx_graph import reads_outside
from liveloc.stream.errors import SettingsError

onnx = pytest.importorskip("onnx")


def moved_out(tensor, file):
    """Move a tensor's numbers to a file, as exporters do with large networks."""
    with open(file, "wb") as out:
        out.write(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(file))


@pytest.mark.parametrize("name", shipped_bundles())
def test_shipped_graphs_hold_everything_themselves(name):
    for part in ("frame.onnx", "context.onnx"):
        assert reads_outside(load_bundle(name).parts[part]) is None


def test_weights_outside_the_bundle_are_refused_and_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime would find them
    bundle = load_bundle("gaussian-2d")
    model = onnx.load_from_string(bundle.parts["context.onnx"])
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    moved_out(tensor, "weights.bin")
    parts = bundle.parts | {"context.onnx": model.SerializeToString()}
    write_bundle(tmp_path / "outside.liveloc", bundle.spec, parts)
    with pytest.raises(SettingsError) as refused:
        load_bundle(tmp_path / "outside.liveloc")
    text = str(refused.value)
    assert "outside.liveloc: context.onnx" in text
    assert f"'{tensor.name}' from weights.bin" in text
    assert "\n" not in text


def test_they_are_found_wherever_a_tensor_can_be():
    def tensor(**more):
        made = onnx.numpy_helper.from_array(np.ones(3, np.float32), "inner")
        for key, value in more.items():
            setattr(made, key, value)
        return made

    def model(node=None, initializer=(), functions=()):
        graph = onnx.helper.make_graph(
            [node] if node else [], "g", [], [], initializer=list(initializer)
        )
        return onnx.helper.make_model(graph, functions=functions).SerializeToString()

    outside = tensor(data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../w.bin")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=outside)
    inner = onnx.helper.make_graph([constant], "then", [], [])
    branch = onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner)
    function = onnx.helper.make_function(
        "d", "f", [], ["c"], [constant], [onnx.helper.make_opsetid("", 18)]
    )
    for graph in (
        model(initializer=[outside]),
        model(constant),
        model(branch),
        model(functions=[function]),
    ):
        assert reads_outside(graph) == ("inner", "../w.bin")
    context = onnx.helper.make_node("EPContext", [], ["c"], ep_cache_context="x.bin")
    assert reads_outside(model(context)) == ("EPContext", "a file of its own")
    assert reads_outside(model(initializer=[tensor()])) is None


@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_graph_are_a_value_error_or_hold_nothing(content):
    try:
        reads_outside(content)
    except ValueError:
        pass


def wrapped(field, content):
    """Put bytes into a field of the message around them."""
    size, length = len(content), b""
    while True:
        length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
        size >>= 7
        if not size:
            return bytes([field << 3 | 2]) + length + content


def test_a_graph_within_graphs_without_end_is_refused():
    graph = b""
    for _ in range(1000):
        for field in (6, 5, 1):  # graph of an attribute of a node of a graph
            graph = wrapped(field, graph)
    with pytest.raises(ValueError, match="without end"):
        reads_outside(wrapped(7, graph))


def test_a_bundle_with_a_torn_graph_names_it(tmp_path):
    bundle = load_bundle("gaussian-2d")
    parts = bundle.parts | {"frame.onnx": bundle.parts["frame.onnx"][:-5]}
    write_bundle(tmp_path / "torn.liveloc", bundle.spec, parts)
    with pytest.raises(SettingsError, match=r"torn.liveloc: frame.onnx is not an ONNX"):
        load_bundle(tmp_path / "torn.liveloc")
