"""The scenario list: where sync meets async, tried on this machine. `python -m ambidex.selftest --help`."""
