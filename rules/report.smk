# Stage 8: figures and the report.
