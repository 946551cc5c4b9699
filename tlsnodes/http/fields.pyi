class FieldTable:
    """What names of fields mean; see `tlsnodes.http.heads.request_table`."""
