"""Stores the constants of a frozen TorchScript graph in fewer bytes: in narrow types, or the values that are not zero.

The graph widens them where they lie, so that it takes and gives what it did, on whatever device it is loaded to.
"""

from __future__ import annotations

from typing import Any

import torch

from divisi_workshop.export.packing import ByteConstant, HalfConstant, SparseConstant, pack


def pack_constants(module: torch.jit.ScriptModule) -> None:
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
                unpacked = _widen(graph, packed, tensor.dtype)
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


def _widen(graph: Any, packed: HalfConstant | ByteConstant, dtype: torch.dtype) -> Any:
    narrow = graph.insertConstant(torch.from_numpy(packed.values))
    return _insert(graph, "aten::to", narrow, dtype, False, False, None)


def _fill(graph: Any, packed: SparseConstant) -> Any:
    values = graph.insertConstant(torch.from_numpy(packed.values))
    indices = graph.insertConstant(torch.from_numpy(packed.indices))
    size = 1
    for extent in packed.shape:
        size *= extent
    zeros = _insert(graph, "aten::new_zeros", values, [size], None, None, None, None)
    filled = _insert(graph, "aten::scatter", zeros, 0, indices, values)
    return _insert(graph, "aten::reshape", filled, list(packed.shape))


def _insert(graph: Any, operator: str, tensor: Any, *arguments: Any) -> Any:
    """Adds an operator at the insert point; arguments that are no values of the graph become constants."""
    values = [
        argument if isinstance(argument, torch._C.Value) else graph.insertConstant(argument) for argument in arguments
    ]
    node = graph.insertNode(graph.create(operator, [tensor, *values], 1))
    node.output().setType(torch._C.TensorType.get())
    return node.output()
