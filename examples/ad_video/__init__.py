"""Advertisement videos: a prompt becomes scenes, and the page shows each as soon as it exists."""
