"""How nodes reach each other: one small protocol, in memory and over Zenoh.

`base` says what a transport does, `memory` does it inside one process, `zenoh` between machines.
Importing this package imports neither Zenoh nor starts anything.
"""
