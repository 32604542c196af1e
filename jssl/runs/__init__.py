"""Runs in folders: one (`run`), several in order (`stages`), and one that exists (`restore`, `encoder`).

workdir decides whether a folder starts, resumes or refuses. Imports everything but the command lines, which import it.
"""
