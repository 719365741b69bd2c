"""Validates documents, a JSON array, against a JSON Schema and prints for each whether it is valid: true or false, a line each.

schema_check.py SCHEMA DOCUMENTS
"""

import json
import sys

import jsonschema


def main():
    schema_file, documents_file = sys.argv[1:]
    with open(schema_file, encoding="utf-8") as file:
        schema = json.load(file)
    with open(documents_file, encoding="utf-8") as file:
        documents = json.load(file)
    validator_of = jsonschema.validators.validator_for(schema, default=None)
    if validator_of is None:
        sys.exit("the schema does not say which edition of JSON Schema it is")
    validator_of.check_schema(schema)
    validator = validator_of(schema)
    for document in documents:
        print(json.dumps(validator.is_valid(document)))


main()
