"""What an evaluation found, shown: `report` in a terminal, `page` as a folder with `figures`.

`text` makes the tables, `content` what report.json holds, `ranking` what both and the figures pick
out of all configurations; `templates/` holds the page.
"""
