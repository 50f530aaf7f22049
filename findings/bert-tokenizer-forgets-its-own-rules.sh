#!/usr/bin/env bash
# transformers 5.24.0 with tokenizers 0.23.3; transformers 4.57.6 beside (no torch needed)
#
# Guess: a fast tokenizer is what its tokenizer.json says, as in transformers 4. A tokenizer of one's own,
#   trained with the tokenizers package and wrapped by BertTokenizerFast(tokenizer_object=...), as
#   courses show it, is the same tokenizer when it is loaded again.
# What happens: in memory it is. When the folder is loaded, by AutoTokenizer or by its class, transformers 5
#   takes the vocabulary alone from tokenizer.json, and BERT's own normalizer, pre-tokenizer and template
#   in place of those in the file: words that were cut into digits are [UNK] now, and a word that was kept
#   whole is cut. No message; saving it again writes BERT's rules into tokenizer.json. transformers 4
#   loads the same folder with its rules. Without tokenizer_class in tokenizer_config.json the model's type
#   decides, and it is the same; the classes of DistilBERT, RoBERTa, XLM-R and Qwen2 do likewise. Wrapped by
#   PreTrainedTokenizerFast, the rules are kept.
# Why it matters: encoders of a domain or a language with a tokenizer of their own are given other tokens
#   than they were trained on, after nothing but an upgrade, or between training and the first search.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for release in "transformers==5.24.0 tokenizers==0.23.3" "transformers==4.57.6"; do
    number=${release:14:1}
    python3 -m venv "$folder/$number"
    # shellcheck disable=SC2086
    "$folder/$number/bin/pip" install --quiet --no-compile --disable-pip-version-check $release
done
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TRANSFORMERS_NO_ADVISORY_WARNINGS=1
cd "$folder"
cat > make.py <<'PY'
import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
digits = pre_tokenizers.Digits(individual_digits=True)
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), digits])
trainer = trainers.WordPieceTrainer(vocab_size=70, special_tokens=list(special.values()), show_progress=False)
tokenizer.train_from_iterator(["part x-ray no. 1234567890"] * 5, trainer)
ids = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
tokenizer.save("rules.json")
BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained("BertTokenizerFast")
PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained("PreTrainedTokenizerFast")
plain = Path("no class")
plain.mkdir()
tokenizer.save("no class/tokenizer.json")
(plain / "tokenizer_config.json").write_text(json.dumps(special))
(plain / "config.json").write_text(json.dumps({"model_type": "bert"}))
PY
cat > load.py <<'PY'
import sys

import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer

text = "Part x-ray 42"
expected = Tokenizer.from_file("rules.json").encode(text).tokens
assert expected == ["[CLS]", "part", "x-ray", "4", "2", "[SEP]"]
print(f"transformers {transformers.__version__}; the rules: {expected}")
seen = {}
for name in ("BertTokenizerFast", "no class", "PreTrainedTokenizerFast"):
    in_file = Tokenizer.from_file(f"{name}/tokenizer.json").encode(text).tokens
    assert in_file == expected, "the file has the rules"
    tokenizer = AutoTokenizer.from_pretrained(name)
    seen[name] = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    print(f"    {name:24} {seen[name]}")
kept = {name for name, tokens in seen.items() if tokens == expected}
everything = {"BertTokenizerFast", "no class", "PreTrainedTokenizerFast"}
assert kept == ({"PreTrainedTokenizerFast"} if sys.argv[1] == "5" else everything)
PY
5/bin/python make.py
5/bin/python load.py 5
rm -r BertTokenizerFast "no class" PreTrainedTokenizerFast
4/bin/python make.py
4/bin/python load.py 4
5/bin/python load.py 5
