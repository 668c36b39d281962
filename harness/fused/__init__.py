"""Dense blocks and batch norms with ReLU for training on the CPU, in fewer passes over memory."""
