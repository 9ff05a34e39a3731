"""What asks for many trainings, or for none: which links, which rates, what a goal takes, studies.

`experiments` keeps trainings in a folder; `links` and `link_search`, `rates` and `study` search on
it; `plan` needs bounds alone.
"""
