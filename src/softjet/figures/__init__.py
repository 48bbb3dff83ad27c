"""Figures, one module a family; none imports a model."""
