"""Validates documents against a JSON Schema and prints for each, a line each, a JSON list of what is wrong with it: "place keyword",
the keyword being that of the schema. An empty list: it is valid.

schema_check.py SCHEMA FILE...

A file is one document in YAML, or a JSON array of them (*.json).
"""

import json
import re
import sys

import jsonschema
import yaml


class CoreLoader(yaml.SafeLoader):
    """YAML 1.2 with its core schema, as editors read it: PyYAML's own rules make dates of 2027-01-01 and numbers of 22:00."""

    yaml_implicit_resolvers = {}

    def mapping(self, node):
        members = {}
        for name, value in node.value:
            if name.value in members:
                raise yaml.MarkedYAMLError(problem=f"{name.value} stands twice", problem_mark=name.start_mark)
            # The names of members are texts to a JSON Schema, whatever they look like.
            members[name.value] = self.construct_object(value, deep=True)
        return members

    def whole(self, node):
        text = node.value
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)

    def real(self, node):
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


for tag, pattern, read in (
    ("null", r"~|null|Null|NULL|", yaml.SafeLoader.construct_yaml_null),
    ("bool", r"true|True|TRUE|false|False|FALSE", yaml.SafeLoader.construct_yaml_bool),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", CoreLoader.whole),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", CoreLoader.real),
):
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), None)
    CoreLoader.add_constructor(f"tag:yaml.org,2002:{tag}", read)
CoreLoader.add_constructor("tag:yaml.org,2002:map", CoreLoader.mapping)


def documents(file_name):
    with open(file_name, encoding="utf-8") as file:
        return json.load(file) if file_name.endswith(".json") else [yaml.load(file, CoreLoader)]


def branch(error):
    """Which of several shapes a value was meant to have: a document says it by a member; the first, where null is the other."""
    if error.absolute_path or not isinstance(error.instance, dict):
        return 0
    kinds = [kind["$ref"].rsplit("/", 1)[1].lower() for kind in error.validator_value]
    # As we look for them: a tariff may not say what it is, an offer has a member of that name, too.
    meant = next((kind for kind in ("offer", "accounting") if kind in error.instance), "tariff")
    return kinds.index(meant)


def faults(errors):
    for error in errors:
        if error.validator == "anyOf":
            meant = branch(error)
            yield from faults(part for part in error.context if part.schema_path[0] == meant)
        else:
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
            yield f"{place.lstrip('.')} {error.validator}".lstrip()


def main():
    schema_file, *files = sys.argv[1:]
    with open(schema_file, encoding="utf-8") as file:
        schema = json.load(file)
    validator_of = jsonschema.validators.validator_for(schema, default=None)
    if validator_of is None:
        sys.exit("the schema does not say which edition of JSON Schema it is")
    validator_of.check_schema(schema)
    validator = validator_of(schema)
    for file_name in files:
        for document in documents(file_name):
            print(json.dumps(sorted(faults(validator.iter_errors(document)))))


main()
