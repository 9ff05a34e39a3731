"""What export wrote and a device reads: manifests, artifacts, the names of tensors."""
