"""The stages' bodies: each walks the parts, calls the functions of one module, and puts files.

A body knows the names of the files inside its own artifact and in those it needs; it skips what a stopped run has
put already. Which body feeds which is ``graph.STAGES``.
"""
