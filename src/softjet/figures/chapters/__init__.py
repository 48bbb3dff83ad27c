"""The chapters of the report: what each stage made, in words, tables and pictures; one module a chapter."""
