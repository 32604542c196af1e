"""Reports of runs: tables, figures, comparisons and the `Result` that a run returns.

Takes numbers and NumPy arrays; knows no program, method or state. Imports evaluation, train and what is below them.
"""
