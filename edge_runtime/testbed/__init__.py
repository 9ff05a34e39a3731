"""All nodes of a bundle as processes of one machine: started, made to fail, watched and judged.

`processes` starts them, `faults` and `run` say what is done to them and when, `observer` and
`monitor` what is seen of it, `replay` and `run_report` what that proves.
"""
