"""From reviewed cases to a new version: features, fit, cross-validation, rehearsal and augmentation."""
