"""Checkpoint → bundle: ONNX and TorchScript, measured against the network; what disagrees with it is not published."""
