"""The CPU backend: one compiled call over a table of addresses steps many parameters."""
