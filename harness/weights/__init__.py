"""Initial and teacher weights from ImageNet, torchxrayvision and runs."""
