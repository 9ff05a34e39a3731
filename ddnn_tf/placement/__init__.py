"""Which machine computes which part of a chain of sections.

A model cut at every place where it may be cut is a chain of blocks. Each device on the way from the
sensor computes a run of them, possibly none, and sends what is left to do on to the next. Choosing
the runs is a shortest path with resource limits, solved as a mixed-integer program by HiGHS
(Huangfu and Hall, *Parallelizing the dual revised simplex method*, 2018) through scipy.

`network` holds blocks, devices and their links, `devices` reads them from a file; `placement` is
what is sought, `program` solves for it, and `choosing` asks: the best, a front, what limits bind.
"""
