"""How many examples a property is tested with, where each takes long."""

from hypothesis import settings


def at_most(examples: int, steps: int = settings.default.stateful_step_count) -> settings:
    """Return settings with so many examples, or with those of the profile if it has fewer."""
    return settings(max_examples=min(examples, settings.default.max_examples), stateful_step_count=steps)
