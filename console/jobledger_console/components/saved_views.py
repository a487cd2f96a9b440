"""Filters that people name, and find again in the same browser."""

from nicegui import ui


class SavedViews(ui.element, component="saved_views.js"):  # type: ignore[call-arg] # of NiceGUI
    """A choice of the views that were saved, and a button that saves the query of the address as one."""
