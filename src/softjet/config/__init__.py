"""The configuration: one pydantic model a section, which also generate the defaults and the JSON schema."""
