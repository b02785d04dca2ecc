"""Stores the constants of an ONNX graph in fewer bytes: narrow behind a Cast, only what is not zero, none twice.

ONNX Runtime casts and fills them when it loads the graph, so that it computes with the same values as before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from divisi_workshop.export.packing import ByteConstant, HalfConstant, SparseConstant, pack


def pack_constants(model: onnx.ModelProto) -> None:
    """Packs the constants of the main graph in place; names of what goes in and out stay."""
    graph = model.graph
    _constant_nodes_to_initializers(graph)
    _share_equal_initializers(graph)
    stored: list[TensorProto] = []
    widening: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        packed = pack(numpy_helper.to_array(tensor))
        if isinstance(packed, HalfConstant | ByteConstant):
            narrow = f"{tensor.name}_narrow"
            stored.append(numpy_helper.from_array(packed.values, narrow))
            widening.append(helper.make_node("Cast", [narrow], [tensor.name], to=tensor.data_type))
        elif isinstance(packed, SparseConstant):
            parts, nodes = _filling(tensor.name, packed)
            stored.extend(parts)
            widening.extend(nodes)
        else:
            stored.append(tensor)
    _replace(graph.initializer, stored)
    _replace(graph.node, [*widening, *graph.node])


def _filling(name: str, packed: SparseConstant) -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    """What is stored of a sparse constant, and the nodes that make it of that.

    Not `sparse_initializer`, which the shape inference of onnx takes for a type of its own that no operator accepts.
    """
    content = {
        "count": np.array([math.prod(packed.shape)], np.int64),
        "indices": packed.indices,
        "values": packed.values,
        "shape": np.array(packed.shape, np.int64),
    }
    zeros, filled = f"{name}_zeros", f"{name}_filled"
    nodes = [
        helper.make_node("ConstantOfShape", [f"{name}_count"], [zeros]),
        helper.make_node("ScatterElements", [zeros, f"{name}_indices", f"{name}_values"], [filled]),
        helper.make_node("Reshape", [filled, f"{name}_shape"], [name]),
    ]
    return [numpy_helper.from_array(array, f"{name}_{part}") for part, array in content.items()], nodes


def _constant_nodes_to_initializers(graph: onnx.GraphProto) -> None:
    """The exporter leaves buffers that are no weights as nodes; only initialisers can be packed."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    _replace(graph.node, kept)


def _share_equal_initializers(graph: onnx.GraphProto) -> None:
    first_names: dict[tuple[object, ...], str] = {}
    same_as: dict[str, str] = {}
    kept = []
    outputs = {value.name for value in graph.output}
    for tensor in graph.initializer:
        if tensor.name in outputs:
            kept.append(tensor)
            continue
        array = numpy_helper.to_array(tensor)
        first = first_names.setdefault((array.dtype.str, array.shape, array.tobytes()), tensor.name)
        if first == tensor.name:
            kept.append(tensor)
        else:
            same_as[tensor.name] = first
    _replace(graph.initializer, kept)
    _rename_inputs(graph, same_as)


def _rename_inputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Also in the graphs of loops and branches, which see the names of the graph around them."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename_inputs(attribute.g, names)


def _replace(field: Any, messages: list[Any]) -> None:
    """Repeated fields of a protobuf message cannot be assigned."""
    del field[:]
    field.extend(messages)
