"""What can fail together, how probably, and which links then deliver."""
