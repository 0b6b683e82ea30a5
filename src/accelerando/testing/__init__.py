"""The public battery: hold any `torch.optim.Optimizer` to its contract, its invariances and its paper."""
