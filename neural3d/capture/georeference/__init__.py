"""A capture's place in the world, in metres: from the photos' GPS, or from points and positions that were surveyed."""
