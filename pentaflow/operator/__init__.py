"""The operator's side of the command line: a client of the controller's REST API, nothing else [O3]."""
