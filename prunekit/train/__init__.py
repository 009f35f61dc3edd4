"""Fine-tuning and distillation of a network on pairs of images."""
