"""How the constants of a graph can be stored in fewer bytes without changing one of them.

Weights that were rounded to half precision fit float16; tables of small indices fit a byte; matrices of a filter bank
are nearly all zeros. Graphs widen or fill them again by operators of their own, which runtimes fold when they load:
whoever runs an artifact need not know.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

# Below, an operator more in the graph costs about what it saves.
_SMALLEST_COUNT = 256
# An entry of a sparse constant needs 12 bytes, of a dense one 2 or 4.
_LARGEST_DENSITY = 0.1
_NARROW = {np.dtype(np.float32): np.float16, np.dtype(np.int64): np.int8}


@dataclass(frozen=True)
class SparseConstant:
    """The values that are not zero, float32, and where they lie in the flattened constant, int64 and ascending."""

    values: np.ndarray
    indices: np.ndarray
    shape: tuple[int, ...]


def pack(constant: np.ndarray) -> np.ndarray | SparseConstant | None:
    """The shorter form of a constant, a narrower array or a sparse one; None where it stays as it is."""
    if constant.size < _SMALLEST_COUNT or constant.dtype not in _NARROW:
        return None
    indices = np.flatnonzero(constant)
    # A zero with a sign would come back without it.
    is_sparse = len(indices) <= _LARGEST_DENSITY * constant.size and not np.signbit(constant[constant == 0]).any()
    if constant.dtype == np.float32 and is_sparse:
        return SparseConstant(constant.ravel()[indices], indices.astype(np.int64), constant.shape)
    with np.errstate(over="ignore"):
        narrow = constant.astype(_NARROW[constant.dtype])
    return narrow if np.array_equal(narrow.astype(constant.dtype), constant) else None


def pack_onnx(model: onnx.ModelProto) -> None:
    """Packs the constants of the main graph in place; names of what goes in and out stay."""
    graph = model.graph
    _constant_nodes_to_initializers(graph)
    _share_equal_initializers(graph)
    stored: list[TensorProto] = []
    widening: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        packed = pack(numpy_helper.to_array(tensor))
        if isinstance(packed, np.ndarray):
            narrow = f"{tensor.name}_narrow"
            stored.append(numpy_helper.from_array(packed, narrow))
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
        array = numpy_helper.to_array(tensor)
        content = (array.dtype.str, array.shape, array.tobytes())
        first = tensor.name if tensor.name in outputs else first_names.setdefault(content, tensor.name)
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


def pack_torch_script(module: torch.jit.ScriptModule) -> None:
    """Packs the constants of a frozen module in place."""
    graph: Any = module.graph
    _split_lists_of_tensors(graph)
    for node in graph.findAllNodes("prim::Constant"):
        tensor = node.output().toIValue()
        packed = pack(tensor.cpu().contiguous().numpy()) if isinstance(tensor, torch.Tensor) else None
        if packed is not None:
            graph.setInsertPoint(node)
            if isinstance(packed, SparseConstant):
                unpacked = _fill(graph, packed)
            else:
                narrow = graph.insertConstant(torch.from_numpy(packed))
                unpacked = _insert(graph, "aten::to", narrow, tensor.dtype, False, False, None)
            node.output().replaceAllUsesWith(unpacked)
    torch._C._jit_pass_dce(graph)
    graph.lint()


def _split_lists_of_tensors(graph: Any) -> None:
    """Freezing makes one constant of all weights of a recurrent layer; each becomes a constant of its own."""
    for node in graph.findAllNodes("prim::Constant"):
        tensors = node.output().toIValue()
        if isinstance(tensors, list) and tensors and all(isinstance(tensor, torch.Tensor) for tensor in tensors):
            graph.setInsertPoint(node)
            constants = [graph.insertConstant(tensor) for tensor in tensors]
            whole = graph.insertNode(graph.create("prim::ListConstruct", constants, 1))
            whole.output().setType(node.output().type())
            node.output().replaceAllUsesWith(whole.output())


def _fill(graph: Any, packed: SparseConstant) -> Any:
    values = graph.insertConstant(torch.from_numpy(packed.values))
    indices = graph.insertConstant(torch.from_numpy(packed.indices))
    zeros = _insert(graph, "aten::new_zeros", values, [math.prod(packed.shape)], None, None, None, None)
    filled = _insert(graph, "aten::scatter", zeros, 0, indices, values)
    return _insert(graph, "aten::reshape", filled, list(packed.shape))


def _insert(graph: Any, operator: str, tensor: Any, *arguments: Any) -> Any:
    """Adds an operator at the insert point; arguments that are no values of the graph become constants."""
    values = [each if isinstance(each, torch._C.Value) else graph.insertConstant(each) for each in arguments]
    node = graph.insertNode(graph.create(operator, [tensor, *values], 1))
    node.output().setType(torch._C.TensorType.get())
    return node.output()
