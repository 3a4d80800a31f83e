"""Speed of Sightline beside this machine's limit, the usual design and other serving systems."""
