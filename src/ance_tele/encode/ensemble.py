"""Ensembles of encoders (DrBoost, Lewis et al. 2022): a text's vector is those of all members, one after the other.

So the dot product of two texts is the sum of the members' products.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from torch import nn

from ance_tele.encode.refusals import check_executed
from ance_tele.encode.several import FirstVectors, NormalizeEach


class Ensemble(InputModule):
    """Concatenates the vectors of its members, which read the same tokens.

    Each member is saved as a model of its own, in a folder ``round-N`` of the module's.

    Args:
        members: Encoders of one tokenizer.
    """

    save_in_root = False
    forward_kwargs: ClassVar = {"task", "modality"}

    def __init__(self, members: Sequence[SentenceTransformer]) -> None:
        super().__init__()
        self.members: Any = nn.ModuleList(members)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of all members."""
        return self.members[0].tokenizer

    def preprocess(self, inputs: Any, prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Tokenise texts, as the first member does."""
        return dict(self.members[0].preprocess(inputs, prompt=prompt, **kwargs))

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add ``sentence_embedding``, [texts, sum of the members' dimensions]."""
        vectors = [member(dict(features), **kwargs)["sentence_embedding"] for member in self.members]
        return {**features, "sentence_embedding": torch.cat(vectors, dim=1)}

    def get_embedding_dimension(self) -> int:
        """Return the sum of the members' dimensions."""
        return sum(member.get_embedding_dimension() or 0 for member in self.members)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the number of members."""
        return {"rounds": len(self.members)}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Save every member in its folder, as safetensors."""
        self.save_config(output_path)
        for number, member in enumerate(self.members, 1):
            member.save_pretrained(str(member_folder(output_path, number)), create_model_card=False)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> "Ensemble":
        """Load the members, from safetensors alone.

        Raises:
            UserError: A member has pickled weights, or code of its own.
        """
        hub = {"token": token, "cache_folder": cache_folder, "revision": revision, "local_files_only": local_files_only}
        rounds = cls.load_config(model_name_or_path, subfolder=subfolder, **hub)["rounds"]
        folder = cls.load_dir_path(model_name_or_path, subfolder=subfolder, **hub)
        given, members = {"use_safetensors": True, **(model_kwargs or {})}, list[SentenceTransformer]()
        for number in range(1, rounds + 1):
            place = str(member_folder(str(folder), number))
            check_executed(place, trust_remote_code)
            members.append(opened(place, model_kwargs=given, trust_remote_code=trust_remote_code, device="cpu"))
        return cls(members)


# Modules of this package that a folder's modules.json may name. sentence-transformers takes all but its own for code
# of strangers.
OWN: Mapping[str, type[nn.Module]] = {
    f"{one.__module__}.{one.__qualname__}": one for one in (FirstVectors, NormalizeEach, Ensemble)
}


def opened(name: str, **options: Any) -> SentenceTransformer:
    """Load a model by sentence-transformers, in which modules of this package are known."""
    return SentenceTransformer._load_with_module_classes(name, OWN, **options)


def member_folder(module: str | Path, number: int) -> Path:
    """Return the folder of a member, from 1, in the folder of the module."""
    return Path(module) / f"round-{number}"


def newest_member(folder: str | Path, rounds: int) -> Path:
    """Return the folder of the newest member of an ensemble that is saved as a model."""
    return member_folder(Path(folder) / f"0_{Ensemble.__name__}", rounds)


def members_of(model: SentenceTransformer) -> list[SentenceTransformer]:
    """Return the members of an ensemble; [] of any other model."""
    return list(model[0].members) if isinstance(model[0], Ensemble) else []


def ensemble(earlier: SentenceTransformer | None, newest: SentenceTransformer) -> SentenceTransformer:
    """Return the model of all members of an earlier ensemble and a new one; None begins with that alone."""
    members = [*(members_of(earlier) if earlier is not None else []), newest]
    return SentenceTransformer(
        modules=[Ensemble(members)],
        similarity_fn_name="dot",
        prompts=dict(newest.prompts or {}),
        default_prompt_name=newest.default_prompt_name,
        device=str(newest.device),
    )
