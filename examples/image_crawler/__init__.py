"""Image crawler: up to N images in chunks of 500, which Celery's workers hash and make thumbnails of."""
