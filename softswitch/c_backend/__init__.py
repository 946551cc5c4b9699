"""Compiles programs to C, and runs them."""
