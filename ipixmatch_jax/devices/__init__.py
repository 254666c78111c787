"""How a step is distributed: devices, processes, preemption and memory."""
