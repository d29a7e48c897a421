"""Fine-tuning: the same loop, from a base model, on a smaller set."""
