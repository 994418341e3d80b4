"""Training on the device: what of a model is trained, and what that needs."""
