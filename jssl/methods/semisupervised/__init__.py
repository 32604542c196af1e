"""Semi-supervised learning: a classifier on labelled images with terms on unlabelled ones, and those terms.

`s4l` adds up any methods of the library; the terms here need its classifier. Imports methods.view_task and what is
below it.
"""
