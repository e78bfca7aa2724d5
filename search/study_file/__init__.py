"""The study file: YAML or plain Python data to a `StudyDefinition` and back, with errors that say where and why.

The one place that knows the file's format, YAML and pydantic; all other code reads `search.study_definition`.
"""

from search.study_file.built_in import built_in_studies
from search.study_file.conversion import (
    definition_from_plain,
    definition_to_plain,
    definition_to_yaml,
    error_in_file,
    load_study_file,
)
from search.study_file.differences import Difference, definition_differences
from search.study_file.dimensions import dimension_to_plain, space_from_plain, space_to_plain
from search.study_file.document import KeyPath
from search.study_file.recorded import with_overrides, with_recorded_defaults
from search.study_file.schema import study_json_schema
from search.study_file.starter import starter_study
from search.study_file.warm_start import masked_warm_start

__all__ = [
    "Difference",
    "KeyPath",
    "built_in_studies",
    "definition_differences",
    "definition_from_plain",
    "definition_to_plain",
    "definition_to_yaml",
    "dimension_to_plain",
    "error_in_file",
    "load_study_file",
    "masked_warm_start",
    "space_from_plain",
    "space_to_plain",
    "starter_study",
    "study_json_schema",
    "with_overrides",
    "with_recorded_defaults",
]
