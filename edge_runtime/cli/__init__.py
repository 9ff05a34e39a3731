"""The commands of `ddnn-edge`, one module each; `main` is the entry point."""
