"""Generated from the protos of the coordinator: see `scripts/python.sh`."""
