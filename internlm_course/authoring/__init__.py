"""For authors: the labs' notebooks from their one source."""
