"""Model files (TFLite, ONNX, PyTorch) to quantised Relax modules."""
