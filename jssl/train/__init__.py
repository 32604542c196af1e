"""Training: the compiled program of a run, the loop around its step, and what the loop needs.

program is built from shapes alone; loop trains; optim, durations, checkpoint, monitor and trackers serve them. Imports
methods and what is below it, nothing of evaluation or runs.
"""
