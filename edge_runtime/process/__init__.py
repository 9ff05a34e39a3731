"""This process: how it starts others, ends, is interrupted, and what it prints and takes."""
