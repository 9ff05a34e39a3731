"""The measured numbers that the documents quote, each with the command that makes it.

`python -m benchmarks` runs them all, `python -m benchmarks NAME…` some. Times are medians of
interleaved runs in one process, quoted as ratios against a named baseline; nothing asserts them.
"""
