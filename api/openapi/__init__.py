"""The OpenAPI document: schemas, parameters and operations."""
