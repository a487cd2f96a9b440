"""Jobs as google.longrunning operations."""
