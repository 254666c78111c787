"""The pure core: train state, objective, optimizer, train and eval step, inference, metrics."""
