# Targets that name a stage: what the report shows of it, and all that this needs.
for name in STAGES:

    rule:
        name:
            name
        input:
            stage_files(name),
        localrule: True
