"""The end-to-end cases: one list, which runs for each language and each channel.

- `catalogue`: the list; each module of `AREAS` has the cases of an area, each a function
- `case`: what a case and a subject are; `subjects`: the languages and the channels
- `stage`: where a case runs; `shown`: what Dagster shows of its run
- `functions`: the function of each language, with the same tasks
- `conftest`, `test_LANGUAGE_CHANNEL`: run each case for each subject to which it applies
"""

AREAS = (
    "contexts",
    "messages",
    "output",
    "responses",
    "errors",
    "isolation",
    "ends",
    "crashes",
    "duplicates",
    "faults",
    "limits",
)
"""The modules with cases, in the order of the documentation."""
