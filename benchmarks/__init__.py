"""Speed of Sightline, compared with this machine's limit, the usual design and other serving systems."""
