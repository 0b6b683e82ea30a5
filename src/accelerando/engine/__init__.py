"""The engine: turns a rule written once into steps on tensors."""
