"""The network: embedding, backbone, diffusion, heads, training, ONNX export."""
