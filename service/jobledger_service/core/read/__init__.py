"""The way of a read: a query comes in, stored values and pages go out."""
