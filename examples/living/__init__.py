"""Jobs that live for as long as somebody looks: what `make console` shows."""
