"""Other serving systems, each with the same model file and in the best setting its documentation describes."""
