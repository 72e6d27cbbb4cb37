"""What is trained and measured: a folder for each section of the chapter.

`study.py` declares what a study has (`benchmarks.studies.declaration`), its other modules run, tabulate and draw it.
"""
