"""The CUDA backend: one Triton launch over a table of pointers for each pass over memory."""
