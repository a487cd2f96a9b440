"""The way of a watch: a cursor comes in, a stream of events goes out."""
