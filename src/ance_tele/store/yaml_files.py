"""YAML files of settings: what the format allows and settings never need, such as a name twice, is refused."""

from pathlib import Path
from typing import Any

import yaml

from ance_tele.console.errors import UserError

# Bytes: settings take a few thousand, and the reader a minute for each ten million.
LARGEST = 1 << 20


class _Settings(yaml.SafeLoader):
    """Safe YAML without references, by which a few lines stand for gigabytes, and without names that come twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse a reference."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "a reference (*) is not taken here", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a name that comes twice, of which PyYAML takes the last."""
        seen = set[str]()
        for key, _ in node.value:
            if key.value.__hash__ and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' comes twice", key.start_mark)
            seen |= {key.value} if isinstance(key.value, str) else set()
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        UserError: It cannot be read, or is none; names the line where that is known.
    """
    try:
        if path.is_file() and path.stat().st_size > LARGEST:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes; a file of settings has a few thousand.")
        return yaml.load(path.read_text("utf-8"), _Settings)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (at byte {error.start}); convert it.") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path} line {line} is not valid YAML ({error.problem}).") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); a YAML file of settings is needed.") from None
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as 2001-99-99, which looks like a date
        why = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML ({why}).") from None
