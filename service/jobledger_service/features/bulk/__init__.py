"""One verb over many jobs, carried out by a job of the service's own."""
