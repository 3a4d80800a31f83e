"""What users report and what reviewers decide: schema, store, index, labels and export. No page."""
