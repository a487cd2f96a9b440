"""The application: commands in, events out; queries; the watch. It declares what it needs of store and feed."""
