"""The example: `python -m examples.outbox`."""

from .demo import main

if __name__ == "__main__":
    main()
