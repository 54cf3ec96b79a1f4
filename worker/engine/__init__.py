"""Pure PyTorch: from a model and a spec to a smaller model, knowing nothing of queues, databases or networks."""
