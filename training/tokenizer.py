"""The tokenizer of sf-llava-tiny: whole words, single punctuation marks, and `<image>`.

Its vocabulary covers the shapes' questions and answers and the Vicuna prompt wrappers, with and without an initial
capital, and both spellings of "colour".
"""

import json
import random
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from sfllava_plugin import prompts
from sfllava_plugin.shapes.questions import ANSWERS, questions
from sfllava_plugin.shapes.scenes import COLUMNS, ROWS, random_scene

UNKNOWN, BOS, EOS, PAD, IMAGE = "<unk>", "<s>", "</s>", "<pad>", prompts.VIDEO_MARKER
_SPECIAL = (UNKNOWN, BOS, EOS, PAD, IMAGE)
#: Enough scenes for every word to occur in their questions.
_SCENES = 400


def build() -> Tokenizer:
    """Build the tokenizer. Deterministic."""
    splitter = pre_tokenizers.BertPreTokenizer()
    words = {word for text in _texts() for word, _ in splitter.pre_tokenize_str(text)}
    vocabulary = [*_SPECIAL, *sorted(words)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    # One space between words, none before a closing bracket: a reply reads "B) red".
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(cleanup=False), decoders.Replace(" )", ")")])
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in _SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def write(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    build().save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": True,
        "bos_token": BOS,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "extra_special_tokens": {"image_token": IMAGE},
        "model_max_length": 1024,
        "pad_token": PAD,
        "padding_side": "left",
        "processor_class": "LlavaNextProcessor",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNKNOWN,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _texts() -> set[str]:
    template = prompts.chat_template("vicuna", special_tokens=_SPECIAL, bos_token=BOS)
    texts = {prompts.render(template, "", options, bos_token=BOS) for options in ([], list("ABCDE"))}
    texts = {text.replace(IMAGE, " ").replace(BOS, " ") for text in texts}
    texts |= {"which option is", "color"}
    texts |= {answer for pool in ANSWERS.values() for answer in pool or (*COLUMNS, *ROWS)}
    for seed in range(_SCENES):
        for question in questions(random_scene(seed), random.Random(seed)):
            texts |= {question.text, question.text.capitalize(), question.answer}
    return texts
