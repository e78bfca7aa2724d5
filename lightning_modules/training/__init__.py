"""How a network is trained: initialization, loss, optimizers, schedules."""
