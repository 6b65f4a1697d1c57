"""YAML files that people write: read without code, and refused where they say something twice."""

import functools
from pathlib import Path


def read_yaml(path: str | Path) -> object:
    """Return the content of a YAML file, None if it is empty.

    Raises:
        ValueError: it is not YAML, repeats a key, or has an alias inside of what is an alias itself (a few lines of
            those grow to gigabytes). The error names file, line and key.
    """
    import yaml

    try:
        return _loader()(Path(path).read_text(encoding="utf-8")).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error


@functools.cache
def _loader() -> type:
    """PyYAML's safe loader, which takes the last of two equal keys and every alias, made strict."""
    import yaml

    class StrictLoader(yaml.SafeLoader):
        inside = 0  # anchored values around the present place

        def compose_node(self, parent, index):
            event = self.peek_event()
            alias = isinstance(event, yaml.AliasEvent)
            if alias and self.inside:
                raise yaml.composer.ComposerError(
                    None, None, f"the alias *{event.anchor} stands in a value that has a name itself", event.start_mark
                )
            named = not alias and getattr(event, "anchor", None) is not None
            self.inside += named
            try:
                return super().compose_node(parent, index)
            finally:
                self.inside -= named

        def construct_mapping(self, node, deep=False):
            lines: dict = {}
            for key_node, _ in node.value:
                key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else key_node
                if key in lines:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key_node.value!r} stands twice, first in line {lines[key]}", key_node.start_mark
                    )
                lines[key] = key_node.start_mark.line + 1
            return super().construct_mapping(node, deep)

    return StrictLoader
