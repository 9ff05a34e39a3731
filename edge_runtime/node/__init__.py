"""One running node: its sensors' sources, its frames, its section, what it tells of itself."""
