"""From reviewed cases to a better last layer: values in, values out, and the files of a new bundle version."""
