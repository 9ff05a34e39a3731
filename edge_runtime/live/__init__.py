"""All nodes of a bundle as processes of one machine: started, made to fail, watched and judged.

`deployment` has the processes, `injections` and `run` what is done to them and when, `observer` and
`monitor` what is seen of it, `replay` and `verdict` what that proves; `cli` are the commands.
"""
