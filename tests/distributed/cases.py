"""What the matrix does not have: meshes of two dimensions, mixed tensors, clipping, wrappers, checkpoints."""

CASES = ()
