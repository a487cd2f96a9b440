"""What the site of the documents generates when it is built: references, and links to what is no page."""
