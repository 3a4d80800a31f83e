"""What users report and what reviewers decide: schema, submission, labels and export. No page."""
