"""The options of run.sh: each is declared once, in `options`, for run.sh and for the programs that run.sh calls.

All of it but `program` needs nothing but Python's standard library: a wrong option is refused before the environment is
built.
"""
