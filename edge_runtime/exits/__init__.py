"""Who answers a frame, whose answer is taken of several, and when; see docs/runtime.md.

`answering` says who may and whose answer that is, exactly, on `choice`, the policies, and `early`,
who is sure enough to answer before the nodes above; `thresholds` finds how sure that is; `chooser`
decides when, live.
"""
