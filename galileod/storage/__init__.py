"""Where bytes become a durable file."""
